"""One style per method, the same in every figure and table: colour of its strategy, a marker, a line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from clplat.plots.colours import strategy_colour

__all__ = ["SHAPES", "Style", "styles_of", "styles_of_methods"]

# matplotlib's marker -> the same shape as an SVG polygon around (0, 0), 10 units wide. "o" is a circle.
SHAPES = {
    "o": "",
    "s": "-4,-4 4,-4 4,4 -4,4",
    "D": "0,-5 5,0 0,5 -5,0",
    "^": "0,-5 5,4 -5,4",
    "v": "0,5 5,-4 -5,-4",
    "P": "-2,-5 2,-5 2,-2 5,-2 5,2 2,2 2,5 -2,5 -2,2 -5,2 -5,-2 -2,-2",
    "X": "-5,-3 -3,-5 0,-2 3,-5 5,-3 2,0 5,3 3,5 0,2 -3,5 -5,3 -2,0",
    "<": "-5,0 4,-5 4,5",
    ">": "5,0 -4,-5 -4,5",
    "*": "0,-5 1.3,-1.6 4.8,-1.5 2,0.7 3,4.2 0,2.2 -3,4.2 -2,0.7 -4.8,-1.5 -1.3,-1.6",
}
_DASHES = ("-", "--", "-.", ":")


@dataclass(frozen=True)
class Style:
    """How a method is drawn: ``#rrggbb``, a matplotlib marker, a matplotlib line style, and its weight."""

    colour: str
    marker: str
    dash: str
    weight: float


def styles_of(rows: Iterable[Mapping[str, Any]]) -> dict[str, Style]:
    """A style by label. Methods of one strategy share its colour; marker and line tell them apart.

    Example:
        >>> styles = styles_of([{"label": label, "strategy": "replay"} for label in ("small", "big")])
        >>> styles["small"].colour == styles["big"].colour, styles["small"].marker == styles["big"].marker
        (True, False)
    """
    found: dict[str, Style] = {}
    seen: dict[str, int] = {}
    for row in rows:
        if row["label"] in found:  # the same method in another group
            continue
        again = seen.get(row["strategy"], 0)
        seen[row["strategy"]] = again + 1
        found[row["label"]] = Style(
            colour=strategy_colour(row["strategy"]),
            marker=list(SHAPES)[len(found) % len(SHAPES)],
            dash=":" if row.get("kind") == "control" else _DASHES[again % len(_DASHES)],
            weight=1.3 if row.get("kind") == "control" else 1.9,
        )
    return found


def styles_of_methods(
    methods: Iterable[str], rows: Iterable[Mapping[str, Any]], styles: Mapping[str, Style]
) -> dict[str, Style]:
    """The style by method: that of its first row, or one of its own while it has no row yet."""
    known: dict[str, Style] = {}
    for row in rows:
        known.setdefault(row["method"], styles[row["label"]])
    fresh = [m for m in dict.fromkeys(methods) if m not in known]
    return known | styles_of({"label": m, "strategy": m, "kind": "tuned"} for m in fresh)
