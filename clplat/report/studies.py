"""What the studies tried: the Pareto front over all trials, and how each search went."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clplat.formats import axis_title, number, text
from clplat.measures import describe
from clplat.plots.canvas import INK, SOFT, panels, titled
from clplat.plots.labels import label_text
from clplat.plots.styles import Style
from clplat.report.outcome import study_name

__all__ = ["Pair", "counted", "feasible", "front", "history", "pairs", "pareto"]

Trial = Mapping[str, Any]
Study = Mapping[str, Any]


@dataclass(frozen=True)
class Pair:
    """Two measures to draw trials in: ``x`` against ``y``; ``all`` are what the front is made of."""

    x: str
    y: str
    all: tuple[str, ...]


def feasible(trial: Trial) -> bool:
    """Whether a trial met every constraint: a constraint is the measure minus its limit, so at most 0."""
    return all(value is not None and value <= 0 for value in trial["constraints"].values())


def pairs(outcome: Mapping[str, Any]) -> list[Pair]:
    """Further objectives against the first; with one objective, the constraint that most trials break."""
    objectives = tuple(outcome["objectives"])
    if len(objectives) > 1:
        return [Pair(other, objectives[0], objectives) for other in objectives[1:]]
    trials = [trial for study in outcome["studies"] for trial in study["trials"]]
    limits = list(outcome["constraints"])
    if not limits:
        return []
    worst = max(limits, key=lambda name: sum((trial["constraints"].get(name) or 0) > 0 for trial in trials))
    return [Pair(worst, objectives[0], (objectives[0], worst))]


def front(points: Sequence[Sequence[float]], lower: Sequence[bool]) -> list[int]:
    """The indices that no other point beats: at least as good in everything and better in something.

    Example:
        >>> front([(50, 4), (48, 2), (47, 3)], lower=(False, True))
        [0, 1]
    """
    better = [[-value if low else value for value, low in zip(point, lower, strict=True)] for point in points]
    return [
        k
        for k, mine in enumerate(better)
        if not any(
            all(a >= b for a, b in zip(other, mine, strict=True)) and other != mine for other in better
        )
    ]


def pareto(
    studies: Sequence[Study], pair: Pair, primary: str, styles: Mapping[str, Style]
) -> tuple[Any, str] | None:
    """All complete trials of these studies: filled where constraints are met, open where not; the front."""
    found = [(study["method"], trial) for study, trial in _finished(studies, pair.all)]
    if len(found) < 2:
        return None
    figure, (axes,) = panels(1, 5.6, 4.2)
    (across, x_scale), (up, y_scale) = axis_title(pair.x, primary), axis_title(pair.y, primary)

    def plot(trials: Sequence[Trial], marker: str, **look: Any) -> None:
        places = [(t["measures"][pair.x] / x_scale, t["measures"][pair.y] / y_scale) for t in trials]
        axes.plot([x for x, _ in places], [y for _, y in places], marker, **look)

    for method in dict.fromkeys(method for method, _ in found):
        colour, marker = styles[method].colour, styles[method].marker
        for met in (True, False):
            mine = [trial for name, trial in found if name == method and feasible(trial) is met]
            plot(mine, marker, ls="", color=colour, mfc=colour if met else "white", mec=colour, ms=6)
        plot([], marker, ls="", color=colour, ms=6, label=label_text(method))
    allowed = [trial for _, trial in found if feasible(trial)]
    best = _front_of(allowed, pair)
    # The front of three objectives is a surface: in two of them its members are ringed, there is no line.
    if len(pair.all) == 2:
        plot(best, "", mfc="none", zorder=1, label="front", color=INK, lw=1)
    else:
        plot(best, "o", mfc="none", zorder=1, label="front", ls="", ms=12, mec=INK)
    if len(allowed) < len(found):
        plot([], "o", ls="", color=SOFT, mfc="white", label="breaks a limit")
    left, lower = (describe(name).lower_is_better for name in (pair.x, pair.y))
    titled(axes, f"{'Lower' if lower else 'Upper'} {'left' if left else 'right'} is best", across, up)
    axes.legend(fontsize=8, frameon=False, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.16))
    members = "; ".join(
        f"{text(pair.y, t['measures'][pair.y])} at {text(pair.x, t['measures'][pair.x])}" for t in best[:8]
    )
    return figure, (
        f"{len(found)} finished trials, {up} against {across}; {len(allowed)} meet every limit. "
        f"Front of those: {members or 'none'}{' and more' if len(best) > 8 else ''}."
    )


def _front_of(trials: Sequence[Trial], pair: Pair) -> list[Trial]:
    """The trials that no other one beats, from left to right."""
    places = [[trial["measures"][name] for name in pair.all] for trial in trials]
    best = front(places, [describe(name).lower_is_better for name in pair.all])
    return sorted(
        (trials[k] for k in best), key=lambda trial: (trial["measures"][pair.x], trial["measures"][pair.y])
    )


def history(study: Study, primary: str, styles: Mapping[str, Style]) -> tuple[Any, str] | None:
    """Values over the trials of a study with one objective, and the best so far that meets the limits."""
    objective, trials = study["objectives"][0], study["trials"]
    done = [t for t in trials if t["state"] == "complete" and t["values"]]
    if len(study["objectives"]) > 1 or len(done) < 2:
        return None
    figure, (axes,) = panels(1, 5.0, 2.5)
    colour, (up, scale) = styles[study["method"]].colour, axis_title(objective, primary)
    for trial in done:
        axes.plot(
            trial["number"], trial["values"][0] / scale, "o", color=colour, mec=colour, ms=5,
            mfc=colour if feasible(trial) else "white",
        )  # fmt: skip
    so_far: list[tuple[int, float]] = []
    for trial in sorted(filter(feasible, done), key=lambda t: int(t["number"])):
        value = trial["values"][0] / scale
        pick = min if describe(objective).lower_is_better else max
        so_far.append((trial["number"], pick(value, so_far[-1][1]) if so_far else value))
    if so_far:
        so_far.append((max(t["number"] for t in trials), so_far[-1][1]))
        axes.step(*zip(*so_far, strict=True), where="post", color=INK, lw=1.1)
    for state, marker in (("pruned", "|"), ("failed", "x")):
        at = [t["number"] for t in trials if t["state"] == state]
        if at:
            axes.plot(
                at, [0.03] * len(at), marker, ls="", color=SOFT if state == "pruned" else "#b2182b", ms=7,
                mew=1.6, transform=axes.get_xaxis_transform(),
            )  # fmt: skip
    axes.margins(y=0.2)
    axes.xaxis.get_major_locator().set_params(integer=True)
    titled(axes, study_name(study), "trial", up)
    best = next((t for t in done if t["number"] == study["best"]), None)
    ends = f"; best {up}: {number(best['values'][0] / scale)} in trial {best['number']}" if best else ""
    return figure, f"Search of {study_name(study)}: {counted(trials)}{ends}."


def counted(trials: Sequence[Trial]) -> str:
    """How many trials there are, and how many of them in each state."""
    states = Counter(trial["state"] for trial in trials)
    return f"{len(trials)} trials ({', '.join(f'{count} {state}' for state, count in states.items())})"


def _finished(studies: Sequence[Study], names: Sequence[str]) -> Iterator[tuple[Study, Trial]]:
    """Complete trials in which all of these measures are defined."""
    for study in studies:
        for trial in study["trials"]:
            if trial["state"] == "complete" and all(trial["measures"].get(n) is not None for n in names):
                yield study, trial
