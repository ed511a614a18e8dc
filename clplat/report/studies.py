"""What the studies tried, in figures and tables: the Pareto front, each search, each trial, importances."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np

from clplat.formats import axis_title, number, setting, text
from clplat.measures import describe
from clplat.plots.canvas import INK, SOFT, label_text, panels, titled
from clplat.plots.styles import Style
from clplat.report.outcome import Row, name_of
from clplat.report.tables import Cell, Column, Part, Table

__all__ = ["Pair", "feasible", "front", "history", "importance_table", "pairs", "pareto", "trials_table"]

Trial = Mapping[str, Any]
_SIGNS = {"complete": "✓", "pruned": "|", "failed": "×", "running": "…", "waiting": "·"}


class Pair(NamedTuple):
    """Two measures to draw trials in: ``x`` against ``y``; ``all`` are what the front is made of."""

    x: str
    y: str
    all: tuple[str, ...]


def feasible(trial: Trial) -> bool:
    """Whether a trial met every constraint: a constraint is the measure minus its limit, so at most 0."""
    return all(value is not None and value <= 0 for value in trial["constraints"].values())


def pairs(outcome: Mapping[str, Any]) -> list[Pair]:
    """Further objectives against the first; with one objective, the constraint that most trials break."""
    objectives, limits = tuple(outcome["objectives"]), list(outcome["constraints"])
    if len(objectives) > 1:
        return [Pair(other, objectives[0], objectives) for other in objectives[1:]]
    trials = [trial for study in outcome["studies"] for trial in study["trials"]]
    limits.sort(key=lambda name: -sum((trial["constraints"].get(name) or 0) > 0 for trial in trials))
    return [Pair(worst, objectives[0], (objectives[0], worst)) for worst in limits[:1]]


def front(points: Sequence[Sequence[float]], lower: Sequence[bool]) -> list[int]:
    """The indices that no other point beats: at least as good in everything and better in something.

    Example:
        >>> front([(50, 4), (48, 2), (47, 3)], lower=(False, True))
        [0, 1]
    """
    values = np.where(lower, 1, -1) * np.array(points, dtype=float).reshape(-1, len(lower))
    beaten = [((values <= mine).all(1) & (values < mine).any(1)).any() for mine in values]
    return [k for k, is_beaten in enumerate(beaten) if not is_beaten]


def pareto(
    studies: Sequence[Row], pair: Pair, primary: str, styles: Mapping[str, Style]
) -> tuple[Any, str] | None:
    """All complete trials of these studies: filled where constraints are met, open where not; the front."""
    found = [
        (study["method"], trial)
        for study in studies
        for trial in study["trials"]
        if trial["state"] == "complete" and all(trial["measures"].get(n) is not None for n in pair.all)
    ]
    if len(found) < 2:
        return None
    figure, (axes,) = panels(1, 5.6, 4.2)
    (across, x_scale), (up, y_scale) = axis_title(pair.x, primary), axis_title(pair.y, primary)

    def plot(trials: Sequence[Trial], marker: str, **look: Any) -> None:
        places = [(t["measures"][pair.x] / x_scale, t["measures"][pair.y] / y_scale) for t in trials]
        axes.plot([x for x, _ in places], [y for _, y in places], marker=marker, **look)

    for method in dict.fromkeys(method for method, _ in found):
        style = styles[method]
        for met in (True, False):
            mine = [trial for name, trial in found if name == method and feasible(trial) is met]
            plot(mine, style.marker, ls="", color=style.colour, mfc=style.colour if met else "white", ms=6)
        plot([], style.marker, ls="", color=style.colour, ms=6, label=label_text(method))
    allowed = [trial for _, trial in found if feasible(trial)]
    best = _front_of(allowed, pair)
    # The front of three objectives is a surface: in two of them its members are ringed, there is no line.
    marker, line = ("", "-") if len(pair.all) == 2 else ("o", "")
    plot(best, marker, ls=line, lw=1, ms=12, mfc="none", zorder=1, label="front", color=INK)
    if len(allowed) < len(found):
        plot([], "o", ls="", color=SOFT, mfc="white", label="breaks a limit")
    left, lower = (describe(name).better == "lower" for name in (pair.x, pair.y))
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
    best = front(places, [describe(name).better == "lower" for name in pair.all])
    return sorted((trials[k] for k in best), key=lambda t: (t["measures"][pair.x], t["measures"][pair.y]))


def history(study: Row, primary: str, styles: Mapping[str, Style]) -> tuple[Any, str] | None:
    """Values over the trials of a study with one objective, and the best so far that meets the limits."""
    objective, trials = study["objectives"][0], study["trials"]
    colour, (up, scale) = styles[study["method"]].colour, axis_title(objective, primary)
    done = {t["number"]: t for t in trials if t["state"] == "complete" and t["values"]}
    values = {k: t["values"][0] / scale for k, t in done.items()}
    if len(study["objectives"]) > 1 or len(done) < 2:
        return None
    figure, (axes,) = panels(1, 5.0, 2.5)
    met = sorted(k for k, trial in done.items() if feasible(trial))
    broken = [k for k in done if k not in met]
    for at, fill in ((met, colour), (broken, "white")):
        axes.plot(at, [values[k] for k in at], "o", ls="", color=colour, mfc=fill, ms=5)
    if met:
        pick = min if describe(objective).better == "lower" else max
        so_far = list(accumulate((values[k] for k in met), pick))
        axes.step(
            [*met, max(t["number"] for t in trials)], [*so_far, so_far[-1]], where="post", color=INK, lw=1.1
        )
    for state, marker, ink in (("pruned", "|", SOFT), ("failed", "x", "#b2182b")):
        at = [t["number"] for t in trials if t["state"] == state]
        floor = axes.get_xaxis_transform()
        axes.plot(at, [0.03] * len(at), marker, ls="", color=ink, ms=7, mew=1.6, transform=floor)
    axes.margins(y=0.2)
    axes.xaxis.get_major_locator().set_params(integer=True)
    titled(axes, name_of(study), "trial", up)
    best = study["best"]
    ends = f"; best {up}: {number(values[best])} in trial {best}" if best in values else ""
    return figure, f"Search of {name_of(study)}: {_counted(trials)}{ends}."


def _counted(trials: Sequence[Trial]) -> str:
    """How many trials there are, and how many of them in each state."""
    states = Counter(trial["state"] for trial in trials)
    return f"{len(trials)} trials ({', '.join(f'{count} {state}' for state, count in states.items())})"


def trials_table(study: Row) -> Table:
    """One line per trial in the order of their numbers: state, values, parameters, and why it ended early."""
    trials, objectives = study["trials"], study["objectives"]
    options = dict.fromkeys([*study["space"], *(key for t in trials for key in t["params"])])
    limited = sorted({name for trial in trials for name in trial["constraints"] if name not in objectives})

    def trial_number(trial: Trial) -> Cell:
        broken = trial["state"] == "complete" and not feasible(trial)
        note = "best" if trial["number"] == study["best"] else "breaks a limit" if broken else ""
        return Cell(str(trial["number"]), note=note)

    def value(name: str, trial: Trial) -> str:
        known = dict(zip(objectives, trial["values"] or (), strict=False))
        return text(name, known.get(name) if name in objectives else trial["measures"].get(name))

    def option(name: str, trial: Trial) -> str:
        return setting(trial["params"].get(name))

    columns = [
        Column("trial", trial_number, "name"),
        Column("state", lambda trial: f"{_SIGNS.get(trial['state'], '')} {trial['state']}"),
        *(Column(describe(name).title, partial(value, name), "number") for name in (*objectives, *limited)),
        *(Column(name, partial(option, name), "number") for name in options),
    ]
    if any(trial["why"] for trial in trials):
        columns.append(Column("why", lambda trial: trial["why"] or ""))
    seconds, tflops = study["spent"].get("seconds"), study["spent"].get("tflops")
    took = [f"{number(seconds / 60)} min"] if seconds is not None else []
    took += [f"{number(tflops)} TFLOP"] if tflops is not None else []
    caption = f"{name_of(study)}: {_counted(trials)}" + (f"; spent {', '.join(took)}" if took else "")
    return Table(caption, columns, [Part(trials)], tall=len(trials) > 12)


def importance_table(study: Row) -> Table | None:
    """Options by importance, the greatest first; None if a study is too small to tell."""
    found = sorted(study["importances"].items(), key=lambda entry: -entry[1])
    columns = [
        Column("option", lambda entry: str(entry[0]), "name"),
        Column("share (%)", lambda entry: Cell(number(100 * entry[1]), bar=entry[1]), "bar"),
    ]
    return Table(name_of(study), columns, [Part(found)]) if found else None
