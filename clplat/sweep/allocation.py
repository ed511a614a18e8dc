"""What a worker does next: the policy of a sweep, as functions of plain data.

Tuning comes first. The next trial goes to the study with the fewest begun trials, among those that may begin
one: the methods advance together. A study may begin a trial while one waits for a worker, or while the trials
it has begun leave something of every limit of the budget. Final runs come when no study may begin one, in
their given order; one that failed is tried once more by every later call of the command.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from clplat.sweep.plan import Budget

__all__ = ["HOPELESS", "State", "TrialSummary", "exhausted", "is_over", "next_final", "next_study", "spent"]

State = Literal["waiting", "running", "complete", "pruned", "failed"]
#: A study whose first trials all failed ends after this many: a limit on time or work would never end it.
HOPELESS = 10


@dataclass(frozen=True)
class TrialSummary:
    """What allocation needs to know of a trial or of one try of a final run.

    Args:
        state: ``waiting`` for a worker, or what became of it.
        seconds: of training and measuring; 0 while unknown.
        flops: of training; 0 while unknown.
        session: the call of the command that began it.
    """

    state: State
    seconds: float = 0.0
    flops: float = 0.0
    session: str = ""


def next_study(budget: Budget, studies: Mapping[str, Sequence[TrialSummary]]) -> str | None:
    """The study that gets the next trial; None when none may begin one.

    Example:
        >>> done, waiting = TrialSummary("complete"), TrialSummary("waiting")
        >>> next_study(Budget(trials=2), {"replay": [done, done], "ewc": [done]})
        'ewc'
        >>> next_study(Budget(trials=2), {"replay": [done, waiting], "ewc": [done, done]})
        'replay'
    """
    open_studies = {
        key: len(_begun(trials))
        for key, trials in studies.items()
        if any(trial.state == "waiting" for trial in trials) or not exhausted(budget, trials)
    }
    return min(open_studies, key=open_studies.__getitem__, default=None)


def exhausted(budget: Budget, trials: Sequence[TrialSummary]) -> bool:
    """Whether the trials that were begun use up the budget of their study."""
    begun = _begun(trials)
    used = spent(begun)
    if any(limit is not None and used[name] >= limit for name, limit in asdict(budget).items()):
        return True
    return len(begun) >= HOPELESS and all(trial.state == "failed" for trial in begun)


def spent(trials: Sequence[TrialSummary]) -> dict[str, float]:
    """What trials used, in the words of `Budget`."""
    return {
        "trials": len(trials),
        "seconds": sum((trial.seconds for trial in trials), 0.0),
        "tflops": sum(trial.flops for trial in trials) / 1e12,
    }


def is_over(budget: Budget, trials: Sequence[TrialSummary]) -> bool:
    """Whether a study will have no further trial, and none is under way."""
    return exhausted(budget, trials) and not any(trial.state in ("waiting", "running") for trial in trials)


def next_final(
    finals: Iterable[str], tries: Mapping[str, Sequence[TrialSummary]], session: str
) -> str | None:
    """The first final run that this call of the command may begin.

    Args:
        finals: final runs whose settings are known, in the order in which they are begun.
        tries: final run -> its tries, the oldest first.
        session: this call.
    """
    for name in finals:
        mine = tries.get(name, ())
        # Once per session, also where two are open and the newest failure is always the other's.
        if not mine or (mine[-1].state == "failed" and session not in {one.session for one in mine}):
            return name
    return None


def _begun(trials: Sequence[TrialSummary]) -> list[TrialSummary]:
    return [trial for trial in trials if trial.state != "waiting"]
