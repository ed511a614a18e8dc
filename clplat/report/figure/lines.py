"""Figures of lines: measures over an option, or over the groups of a sweep."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from clplat.errors import UserError
from clplat.formats import axis_title, number, setting
from clplat.measures import describe
from clplat.naming import flat
from clplat.plots.canvas import panels, titled
from clplat.plots.labels import End, end_labels, label_text
from clplat.plots.styles import Style
from clplat.report.figure.request import FigureRequest, Spread, spread_of
from clplat.report.figures import Drawing
from clplat.report.outcome import Row, by_group, is_contender

__all__ = ["curve", "lines"]

Lines = Mapping[str, Sequence[tuple[float, Row]]]  # name -> its rows, each with its place from left to right
Points = Sequence[tuple[float, Spread]]


def curve(request: FigureRequest) -> Drawing | None:
    """``x``, an option that is a number, against one measure per panel.

    Rows that differ in x alone are a line; rows without x, such as controls, are level lines.
    """
    option = str(request.figure.get("x"))
    found: dict[str, list[tuple[float, Row]]] = {}
    level: list[Row] = []
    for row in request.rows:
        x = _option_of(row, option, request)
        if x is None:
            level.append(row)
        else:
            found.setdefault(_line_name(row, option, request), []).append((x, row))
    if not found and request.outcome["status"] == "running":
        return None
    if not found:
        known = ", ".join(sorted({key for row in request.rows for key in row["settings"]})) or "none"
        raise UserError(f"the figure's x '{option}' is no number in any row (settings that differ: {known})")
    places = sorted({x for line in found.values() for x, _ in line})
    ordered = {name: sorted(line, key=lambda entry: entry[0]) for name, line in found.items()}
    log = bool(request.figure.get("log"))
    figure, drawn = _draw(request, ordered, level, option, lambda axes: _number_axis(axes, places, log))
    words = []
    for measure, line, points in drawn:
        x, (best, *_) = (min if describe(measure).lower_is_better else max)(points, key=lambda p: p[1][0])
        up = axis_title(measure, request.primary)[0]
        words.append(f"{up}, {line}: best {number(best)} at {option} = {setting(x)}")
    return figure, "; ".join(words) + "."


def lines(request: FigureRequest) -> Drawing:
    """The groups from left to right, one line per method, one panel per measure."""
    groups = by_group(request.rows)
    found: dict[str, list[tuple[float, Row]]] = {row["label"]: [] for row in request.rows}
    for k, rows in enumerate(groups.values()):
        for row in rows:
            found[row["label"]].append((float(k), row))
    names = [label_text(group or "all", 18) for group in groups]
    figure, drawn = _draw(request, found, [], "", lambda axes: _name_axis(axes, names))
    first, *_, last = [*groups, *groups]
    words = (f"{line} from {number(p[0][1][0])} to {number(p[-1][1][0])}" for _, line, p in drawn)
    measures = ", ".join(request.measures("y"))
    return figure, f"{measures}, from {first or 'all'} to {last or 'all'}: {'; '.join(words)}."


def _draw(
    request: FigureRequest, lines: Lines, level: Sequence[Row], across: str, scale_axis: Callable[[Any], None]
) -> tuple[Any, list[tuple[str, str, Points]]]:
    """One panel per measure of ``y``; the figure, and (measure, line, points) of all that is drawn."""
    names = request.measures("y")
    height = max(3.6, 1.6 + 0.17 * (len(lines) + len(level)))
    figure, every = panels(len(names), 5.0, height)
    right = max(x for line in lines.values() for x, _ in line)
    drawn: list[tuple[str, str, Points]] = []
    for axes, name in zip(every, names, strict=True):
        up, scale = axis_title(name, request.primary)
        ends: list[End] = []
        for title, line in lines.items():
            points = [(x, s) for x, row in line if (s := spread_of(row, name, scale)) is not None]
            if points:
                style = request.styles[line[0][1]["label"]]
                _line(axes, points, style)
                ends.append((points[-1][0], points[-1][1][0], title, style.colour))
                drawn.append((name, title, points))
        for row in level:
            if (spread := spread_of(row, name, scale)) is not None:
                style = request.styles[row["label"]]
                axes.axhline(spread[0], color=style.colour, ls=":", lw=1.3)
                ends.append((right, spread[0], row["label"], style.colour))
        scale_axis(axes)
        titled(axes, request.title if axes is every[0] else "", across, up)
        end_labels(axes, ends, height - 1)
    return figure, drawn


def _line(axes: Any, points: Points, style: Style) -> None:
    """Draw (x, spread) in the style of a method."""
    reach = [[down for _, (_, down, _) in points], [above for _, (_, _, above) in points]]
    axes.errorbar(
        [x for x, _ in points], [mean for _, (mean, _, _) in points], yerr=reach, color=style.colour,
        marker=style.marker, ls=style.dash, lw=style.weight, ms=6, mec="white", mew=0.6, capsize=2.5,
        elinewidth=1,
    )  # fmt: skip


def _option_of(row: Row, option: str, request: FigureRequest) -> float | None:
    """The option as a number: what the row sets or tuned; of contenders also what their runs were given."""
    candidates = [row["settings"].get(option), row["params"].get(option)]
    if is_contender(row):
        candidates += [flat(result["config"]).get(option) for result in request.runs.of(row)[:1]]
    for value in candidates:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
    return None


def _line_name(row: Row, option: str, request: FigureRequest) -> str:
    """What the rows of a line have in common: group, strategy, kind, and the other settings that differ."""
    peers = [other for other in request.rows if option in other["settings"]]
    differ = sorted(
        {
            key
            for other in peers
            for key, value in other["settings"].items()
            if key not in (option, "strategy") and value != row["settings"].get(key)
        }
    )
    settings = [f"{key.rpartition('.')[2]} {setting(row['settings'].get(key))}" for key in differ]
    kinds = {other["kind"] for other in request.rows if is_contender(other)}
    group = [row["group"]] if row["group"] else []
    return ", ".join([*group, row["strategy"], *settings, *([row["kind"]] if len(kinds) > 1 else [])])


def _number_axis(axes: Any, places: Sequence[float], log: bool) -> None:
    positive = [x for x in places if x > 0]
    if log and len(positive) == len(places):
        axes.set_xscale("log")
    elif log and positive:
        # A size of 0 has a place too: linear up to the smallest size, logarithmic beyond.
        axes.set_xscale("symlog", linthresh=positive[0])
    if len(places) <= 8:
        axes.minorticks_off()
        axes.set_xticks(places, [setting(int(x) if x == int(x) else x) for x in places])


def _name_axis(axes: Any, names: Sequence[str]) -> None:
    axes.set_xticks(range(len(names)), names)
    axes.set_xlim(-0.2, len(names) - 0.8)
