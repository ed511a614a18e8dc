"""One style per method, the same in every figure and table: colour of its strategy, a marker, a line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clplat.plots.colours import strategy_colour

__all__ = ["MARKERS", "Style", "styles_of", "styles_of_methods"]

MARKERS = "osD^vPX<>*"  # of matplotlib
_DASHES = ("-", "--", "-.", ":")


@dataclass(frozen=True)
class Style:
    """How a method is drawn: ``#rrggbb``, a matplotlib marker, a matplotlib line style, and its weight."""

    colour: str
    marker: str
    dash: str = "-"
    weight: float = 1.0

    @property
    def line(self) -> dict[str, Any]:
        """The arguments with which matplotlib draws a line of this method."""
        look = {"color": self.colour, "marker": self.marker, "ls": self.dash, "lw": self.weight}
        return {**look, "mec": "white"}

    @property
    def polygon(self) -> str:
        """The marker as corners of an SVG polygon around (0, 0), 9 units wide."""
        from matplotlib.markers import MarkerStyle

        marker = MarkerStyle(self.marker)
        outlines: Any = marker.get_path().transformed(marker.get_transform()).to_polygons()
        return " ".join(f"{9 * x:.1f},{-9 * y:.1f}" for x, y in outlines[0])


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
        control = row.get("kind") == "control"
        found[row["label"]] = Style(
            strategy_colour(row["strategy"]),
            MARKERS[len(found) % len(MARKERS)],
            ":" if control else _DASHES[again % len(_DASHES)],
            1.3 if control else 1.9,
        )
    return found


def styles_of_methods(
    methods: Iterable[str], rows: Sequence[Mapping[str, Any]], styles: Mapping[str, Style]
) -> dict[str, Style]:
    """The style by method: that of its first row, or one of its own while it has no row yet."""
    fresh = styles_of({"label": method, "strategy": method} for method in methods)
    return fresh | {row["method"]: styles[row["label"]] for row in reversed(rows)}
