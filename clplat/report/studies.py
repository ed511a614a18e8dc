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

__all__ = ["Pair", "feasible", "front", "history", "pairs", "pareto"]

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


def front(spots: Sequence[Sequence[float]], lower: Sequence[bool]) -> list[int]:
    """The indices that no other spot beats: at least as good in everything and better in something.

    Example:
        >>> front([(50, 4), (48, 2), (47, 3)], lower=(False, True))
        [0, 1]
    """
    better = [[-value if low else value for value, low in zip(spot, lower, strict=True)] for spot in spots]
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
    methods = list(dict.fromkeys(method for method, _ in found))
    for method in methods:
        colour, marker = styles[method].colour, styles[method].marker
        for met in (True, False):
            mine = [t["measures"] for name, t in found if name == method and feasible(t) is met]
            axes.plot(
                [m[pair.x] / x_scale for m in mine], [m[pair.y] / y_scale for m in mine], marker, ls="",
                color=colour, mfc=colour if met else "white", mec=colour, ms=6,
            )  # fmt: skip
        axes.plot([], [], marker, ls="", color=colour, ms=6, label=label_text(method))
    allowed = [trial for _, trial in found if feasible(trial)]
    spots = [[trial["measures"][name] for name in pair.all] for trial in allowed]
    best = sorted(
        (allowed[k]["measures"] for k in front(spots, [describe(name).lower_is_better for name in pair.all])),
        key=lambda m: (m[pair.x], m[pair.y]),
    )
    # The front of three objectives is a surface: in two of them its members are ringed, there is no line.
    flat = len(pair.all) == 2
    of_front: dict[str, Any] = (
        {"color": INK, "lw": 1} if flat else {"ls": "", "marker": "o", "ms": 12, "mec": INK}
    )
    axes.plot(
        [m[pair.x] / x_scale for m in best], [m[pair.y] / y_scale for m in best], mfc="none", zorder=1,
        label="front", **of_front,
    )  # fmt: skip
    if len(allowed) < len(found):
        axes.plot([], [], "o", ls="", color=SOFT, mfc="white", label="breaks a limit")
    side = "left" if describe(pair.x).lower_is_better else "right"
    corner = f"{'Lower' if describe(pair.y).lower_is_better else 'Upper'} {side} is best"
    titled(axes, corner, across, up)
    axes.legend(fontsize=8, frameon=False, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.16))
    members = "; ".join(f"{text(pair.y, m[pair.y])} at {text(pair.x, m[pair.x])}" for m in best[:8])
    return figure, (
        f"{len(found)} finished trials, {up} against {across}; {len(allowed)} meet every limit. "
        f"Front of those: {members or 'none'}{' and more' if len(best) > 8 else ''}."
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
    states = Counter(t["state"] for t in trials)
    counted = ", ".join(f"{count} {state}" for state, count in states.items())
    best = next((t for t in done if t["number"] == study["best"]), None)
    ends = f"; best {up}: {number(best['values'][0] / scale)} in trial {best['number']}" if best else ""
    return figure, f"Search of {study_name(study)}: {len(trials)} trials ({counted}){ends}."


def _finished(studies: Sequence[Study], names: Sequence[str]) -> Iterator[tuple[Study, Trial]]:
    """Complete trials in which all of these measures are defined."""
    for study in studies:
        for trial in study["trials"]:
            if trial["state"] == "complete" and all(trial["measures"].get(n) is not None for n in names):
                yield study, trial
