"""Figures of lines: measures over an option or over groups, and the primary metric over the stream."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from clplat.errors import UserError
from clplat.formats import axis_title, number, setting
from clplat.measures import describe, mean_of
from clplat.naming import flat
from clplat.plots.canvas import End, end_labels, label_text, panels, titled
from clplat.plots.curves import stream_curves
from clplat.report.figure.request import Drawing, FigureRequest
from clplat.report.outcome import Row, by_group, is_contender

__all__ = ["curve", "lines", "over_stream"]

Lines = dict[str, list[tuple[float, Row]]]  # name -> its rows, each with its place from left to right


def over_stream(request: FigureRequest, first_only: bool) -> Drawing | None:
    """The primary metric after each domain, over all domains or of the first; None if no run has a row."""

    def mean(values: Sequence[float | None]) -> float:
        found = mean_of(values[:1] if first_only else values)
        return float("nan") if found is None else found

    primary, places = request.primary, request.runs.positions(request.rows)
    if not places:
        return None
    series = {
        row["label"]: [list(map(mean, r["metrics"][primary])) for r in request.runs.of(row)]
        for row in request.rows
    }
    title = f"The first domain only ({places[0]})" if first_only else "Mean over all domains"
    drawn = stream_curves(series, places, request.styles, primary, title)
    if drawn is None:
        return None
    figure, ends = drawn
    values = (f"{name} {number(value)}" for _, value, name, _ in sorted(ends, key=lambda end: -end[1]))
    return figure, f"{title}: {primary} over the stream. It ends at: {', '.join(values)}."


def curve(request: FigureRequest) -> Drawing | None:
    """``x``, an option that is a number, against one measure per panel.

    Rows that differ in x alone are a line; rows without x, such as controls, are level lines.
    """
    option = str(request.figure.get("x"))
    found: Lines = {}
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
    for line in found.values():
        line.sort(key=lambda entry: entry[0])
    places = sorted({x for line in found.values() for x, _ in line})
    ticks = {x: setting(int(x) if x == int(x) else x) for x in places}
    return _draw(request, found, level, option, ticks)


def lines(request: FigureRequest) -> Drawing:
    """The groups from left to right, one line per method, one panel per measure."""
    groups = by_group(request.rows)
    found: Lines = {}
    for k, rows in enumerate(groups.values()):
        for row in rows:
            found.setdefault(row["label"], []).append((float(k), row))
    return _draw(request, found, [], "", {float(k): group or "all" for k, group in enumerate(groups)})


def _draw(
    request: FigureRequest, found: Lines, level: Sequence[Row], across: str, ticks: Mapping[float, str]
) -> Drawing:
    """One panel per measure of ``y``, with lines over ``ticks`` and level lines."""
    names = request.measures("y")
    figure, every = panels(len(names), 5.0, max(3.6, 1.6 + 0.17 * (len(found) + len(level))))
    words = []
    for axes, name in zip(every, names, strict=True):
        up, ends = axis_title(name, request.primary)[0], list[End]()
        for title, line in found.items():
            points = [(x, *s) for x, row in line if (s := request.spread(row, name)) is not None]
            if not points:
                continue
            xs, means, down, above = zip(*points, strict=True)
            style = request.styles[line[0][1]["label"]]
            axes.errorbar(xs, means, (down, above), **style.line, ms=6, mew=0.6, capsize=2.5, elinewidth=1)
            ends.append((xs[-1], means[-1], title, style.colour))
            best = (min if describe(name).better == "lower" else max)(points, key=lambda point: point[1])
            shown = dict.fromkeys((points[0], best, points[-1]))
            words.append(f"{up}, {title}: {', '.join(f'{number(y)} at {ticks[x]}' for x, y, *_ in shown)}")
        for row in level:
            if (spread := request.spread(row, name)) is not None:
                colour = request.styles[row["label"]].colour
                axes.axhline(spread[0], color=colour, ls=":", lw=1.3)
                ends.append((max(ticks), spread[0], row["label"], colour))
        if across and request.figure.get("log") and max(ticks) > 0:
            # A size of 0 has a place too: linear up to the smallest size, logarithmic beyond.
            linear = {} if min(ticks) > 0 else {"linthresh": min(x for x in ticks if x > 0)}
            axes.set_xscale("symlog" if linear else "log", **linear)
        if len(ticks) <= 8 or not across:
            axes.minorticks_off()
            axes.set_xticks(list(ticks), [label_text(text, 18) for text in ticks.values()])
        titled(axes, request.title if axes is every[0] else "", across, up)
        end_labels(axes, ends)
    return figure, f"First, best and last over {across or 'the groups'}: {'; '.join(words)}."


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
    differ = {
        key
        for other in request.rows
        if option in other["settings"]
        for key, value in other["settings"].items()
        if key not in (option, "strategy") and value != row["settings"].get(key)
    }
    given = {key: value for key in sorted(differ) if (value := row["settings"].get(key)) is not None}
    settings = [f"{key.rpartition('.')[2]} {setting(value)}" for key, value in given.items()]
    kinds = {other["kind"] for other in request.rows if is_contender(other)}
    words = [row["group"], row["strategy"], *settings, row["kind"] if len(kinds) > 1 else ""]
    return ", ".join(filter(None, words))
