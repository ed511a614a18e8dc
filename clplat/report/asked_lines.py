"""Questions with a line for an answer: a measure over an option, or over the groups of a sweep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from clplat.errors import UserError
from clplat.report.asked import Asked, Drawing, bounds
from clplat.report.canvases import panels, titled
from clplat.report.formats import axis_title, lower_is_better, number, setting
from clplat.report.outcome import groups, is_contender
from clplat.report.styles import Style
from clplat.tracking.labels import end_labels, named
from clplat.tracking.naming import flat

__all__ = ["curve", "lines"]

Row = Mapping[str, Any]
Spread = tuple[float, float, float]


def curve(asked: Asked) -> Drawing:
    """``x``, an option that is a number, against one measure a panel.

    Rows that differ in x alone are a line; rows without x, such as controls, are level lines.
    """
    option, names = str(asked.figure.get("x")), asked.measures("y")
    found: dict[str, list[tuple[float, Row]]] = {}
    level: list[Row] = []
    for row in asked.rows:
        x = _option_of(row, option, asked)
        if x is None:
            level.append(row)
        else:
            found.setdefault(_line_name(row, option, asked), []).append((x, row))
    if not found and asked.outcome["status"] == "running":
        return None
    if not found:
        known = ", ".join(sorted({key for row in asked.rows for key in row["settings"]})) or "none"
        raise UserError(f"the figure's x '{option}' is no number in any row (settings that differ: {known})")
    places = sorted({x for line in found.values() for x, _ in line})
    tall = max(3.6, 1.6 + 0.17 * (len(found) + len(level)))
    figure, every = panels(len(names), 5.0, tall)
    said = []
    for axes, name in zip(every, names, strict=True):
        up, scale = axis_title(name, asked.primary)
        ends = []
        for title, line in found.items():
            line.sort(key=lambda entry: entry[0])
            points = [(x, b) for x, row in line if (b := bounds(row, name, scale)) is not None]
            if points:
                style = asked.look[line[0][1]["label"]]
                ends.append((points[-1][0], _line(axes, points, style), title, style.colour))
                x, (best, *_) = (min if lower_is_better(name) else max)(points, key=lambda p: p[1][0])
                said.append(f"{up}, {title}: best {number(best)} at {option} = {setting(x)}")
        for row in level:
            if (spread := bounds(row, name, scale)) is not None:
                style = asked.look[row["label"]]
                axes.axhline(spread[0], color=style.colour, ls=":", lw=1.3)
                ends.append((places[-1], spread[0], row["label"], style.colour))
        _scale_of(axes, places, bool(asked.figure.get("log")))
        titled(axes, asked.title if axes is every[0] else "", option, up)
        end_labels(axes, ends, tall - 1)
    return figure, "; ".join(said) + "."


def lines(asked: Asked) -> Drawing:
    """The groups from left to right, one line a method, one panel a measure."""
    names, by_group = asked.measures("y"), groups(asked.outcome)
    methods = list(dict.fromkeys(row["label"] for row in asked.rows))
    tall = max(3.6, 1.4 + 0.17 * len(methods))
    figure, every = panels(len(names), 5.2, tall)
    said = []
    for axes, name in zip(every, names, strict=True):
        up, scale = axis_title(name, asked.primary)
        ends = []
        for method in methods:
            points = [
                (float(k), b)
                for k, rows in enumerate(by_group.values())
                for row in rows
                if row["label"] == method and (b := bounds(row, name, scale)) is not None
            ]
            if points:
                ends.append((points[-1][0], _line(axes, points, asked.look[method]), method,
                             asked.look[method].colour))  # fmt: skip
                said.append(f"{method} from {number(points[0][1][0])} to {number(points[-1][1][0])}")
        axes.set_xticks(range(len(by_group)), [named(group or "all", 18) for group in by_group])
        axes.set_xlim(-0.2, len(by_group) - 0.8)
        titled(axes, asked.title if axes is every[0] else "", "", up)
        end_labels(axes, ends, tall - 0.8)
    first, *_, last = [*by_group, *by_group]
    return figure, f"{', '.join(names)}, from {first or 'all'} to {last or 'all'}: {'; '.join(said)}."


def _line(axes: Any, points: Sequence[tuple[float, Spread]], style: Style) -> float:
    """Draw (x, spread) in the style of a method; the value at the end."""
    means = [mean for _, (mean, _, _) in points]
    reach = [[down for _, (_, down, _) in points], [above for _, (_, _, above) in points]]
    axes.errorbar(
        [x for x, _ in points], means, yerr=reach, color=style.colour, marker=style.marker, ls=style.dash,
        lw=style.weight, ms=6, mec="white", mew=0.6, capsize=2.5, elinewidth=1,
    )  # fmt: skip
    return means[-1]


def _option_of(row: Row, option: str, asked: Asked) -> float | None:
    """The option as a number: what the row sets or tuned; of contenders also what their runs were given."""
    candidates = [row["settings"].get(option), row["params"].get(option)]
    if is_contender(row):
        candidates += [flat(result["config"]).get(option) for result in asked.runs.of(row)[:1]]
    for value in candidates:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
    return None


def _line_name(row: Row, option: str, asked: Asked) -> str:
    """What the rows of a line have in common: group, strategy, kind, and the other settings that differ."""
    peers = [other for other in asked.rows if option in other["settings"]]
    differ = sorted(
        {
            key
            for other in peers
            for key, value in other["settings"].items()
            if key not in (option, "strategy") and value != row["settings"].get(key)
        }
    )
    words = [f"{key.rpartition('.')[2]} {setting(row['settings'].get(key))}" for key in differ]
    kinds = {other["kind"] for other in asked.rows if is_contender(other)}
    group = [row["group"]] if row["group"] else []
    return ", ".join([*group, row["strategy"], *words, *([row["kind"]] if len(kinds) > 1 else [])])


def _scale_of(axes: Any, places: Sequence[float], log: bool) -> None:
    positive = [x for x in places if x > 0]
    if log and len(positive) == len(places):
        axes.set_xscale("log")
    elif log and positive:
        # A size of 0 has a place too: linear up to the smallest size, logarithmic beyond.
        axes.set_xscale("symlog", linthresh=positive[0])
    if len(places) <= 8:
        axes.minorticks_off()
        axes.set_xticks(places, [setting(int(x) if x == int(x) else x) for x in places])
