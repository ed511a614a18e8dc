"""Which study gets the next trial and which final run comes next, without Optuna or files."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clplat.sweep import Budget
from clplat.sweep.allocation import (
    HOPELESS,
    State,
    TrialSummary,
    exhausted,
    is_over,
    next_final,
    next_study,
)

#: A letter per trial: Waiting, Running, Complete, Pruned, Failed.
STATES: dict[str, State] = {
    "w": "waiting",
    "r": "running",
    "c": "complete",
    "p": "pruned",
    "f": "failed",
}


def trials(states: str, seconds: float = 1.0, flops: float = 1e12, session: str = "") -> list[TrialSummary]:
    return [TrialSummary(STATES[state], seconds, flops, session) for state in states]


@pytest.mark.parametrize(
    ("budget", "replay", "ewc", "expected"),
    [
        (Budget(trials=2), "", "", "replay"),  # the first of equals
        (Budget(trials=2), "r", "", "ewc"),  # the one with fewer begun trials
        (Budget(trials=2), "cc", "c", "ewc"),
        (Budget(trials=2), "cc", "cr", None),
        (Budget(trials=2), "pf", "", "ewc"),  # pruned and failed trials count
        (Budget(trials=2), "cw", "cc", "replay"),  # what a dead worker gave back, though all is spent
        (Budget(trials=2), "ccw", "cc", "replay"),
        (Budget(seconds=3.0), "ccc", "cc", "ewc"),
        (Budget(tflops=2.0), "c", "cc", "replay"),
        (Budget(trials=9, seconds=2.0), "cc", "cc", None),  # the first limit that is reached
        (Budget(seconds=1e9), "f" * HOPELESS, "f" * HOPELESS, None),
        (Budget(seconds=1e9), "f" * HOPELESS + "c", "f" * HOPELESS, "replay"),
    ],
)
def test_which_study_is_next(budget: Budget, replay: str, ewc: str, expected: str | None) -> None:
    assert next_study(budget, {"replay": trials(replay), "ewc": trials(ewc)}) == expected


@pytest.mark.parametrize(
    ("states", "spent", "over"),
    [
        ("cc", True, True),
        ("cr", True, False),
        ("c", False, False),
        ("cw", False, False),
        ("ccw", True, False),
    ],
)
def test_when_a_study_is_over(states: str, spent: bool, over: bool) -> None:
    budget = Budget(trials=2)
    assert exhausted(budget, trials(states)) is spent and is_over(budget, trials(states)) is over


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ([], [], "a"),
        (trials("c"), [], "b"),
        (trials("r"), trials("c"), None),
        (trials("f", session="before"), [], "a"),  # tried once more by this call
        (trials("f", session="now"), trials("c"), None),  # but only once
        (trials("f", session="now") + trials("f", session="other"), trials("c"), None),
        (trials("f", session="before") + trials("r", session="other"), trials("c"), None),
    ],
)
def test_which_final_run_is_next(
    first: Sequence[TrialSummary], second: Sequence[TrialSummary], expected: str | None
) -> None:
    assert next_final(["a", "b"], {"a": first, "b": second}, "now") == expected


BUDGETS = st.builds(
    Budget,
    trials=st.integers(1, 12) | st.none(),
    seconds=st.floats(0.5, 20) | st.none(),
    tflops=st.floats(0.5, 20) | st.none(),
).filter(lambda budget: budget.tunes)
ENDS: list[State] = ["complete", "pruned", "failed"]


@given(BUDGETS, st.integers(1, 4), st.integers(0, 10_000))
def test_every_study_spends_its_budget_and_no_more_than_one_trial_beyond(
    budget: Budget, count: int, seed: int
) -> None:
    dice = random.Random(seed)
    studies: dict[str, list[TrialSummary]] = {str(i): [] for i in range(count)}
    while (key := next_study(budget, studies)) is not None:
        open_studies = [held for held in studies.values() if not exhausted(budget, held)]
        assert studies[key] in open_studies
        assert len(studies[key]) == min(map(len, open_studies)), "the methods advance together"
        cost = dice.uniform(0.1, 5.0)
        studies[key].append(TrialSummary(dice.choice(ENDS), seconds=cost, flops=cost * 1e12))
    for held in studies.values():
        assert is_over(budget, held) and not exhausted(budget, held[:-1])
