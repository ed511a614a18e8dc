"""What is to be drawn, with everything that the drawing reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from clplat.errors import unknown_name
from clplat.formats import axis_title
from clplat.plots.styles import Style
from clplat.report.outcome import Outcome, Row, Runs

__all__ = ["Drawing", "FigureRequest", "Spread"]

Drawing = tuple[Any, str]  # a figure, and what it says in words
Spread = tuple[float, float, float]  # mean, how far down, how far up


@dataclass(frozen=True)
class FigureRequest:
    """A figure of some rows.

    Args:
        rows: best first within each group.
        styles: by label.
        figure: ``outcome["figure"]``, if that is what is drawn.
    """

    outcome: Outcome
    rows: Sequence[Row]
    runs: Runs
    styles: Mapping[str, Style]
    figure: Mapping[str, Any] = field(default_factory=dict)

    @property
    def primary(self) -> str:
        return str(self.outcome["primary"])

    @property
    def title(self) -> str:
        """The figure's own title, or the name of the sweep."""
        title = self.figure.get("title")
        return str(self.outcome["name"] if title is None else title)

    def measures(self, key: str) -> list[str]:
        """The measures that ``figure[key]`` names, one or a list.

        Raises:
            UserError: no row has a measure of that name.
        """
        value = self.figure.get(key, "final")
        names = [value] if isinstance(value, str) else list(value)
        allowed = dict.fromkeys(["final", *(name for row in self.rows for name in row["measures"])])
        for name in names:
            if name not in allowed:
                raise unknown_name(f"measure in the figure's {key}", str(name), allowed)
        return names

    def name(self, row: Row) -> str:
        """The label of a row, with its group where there are several."""
        several = len({other["group"] for other in self.rows}) > 1
        return f"{row['label']}, {row['group']}" if several else str(row["label"])

    def spread(self, row: Row, name: str) -> Spread | None:
        """A measure in the units of its axis: the interval of the final score, one sd of anything else."""
        entry = row["score"] if name == "final" else row["measures"].get(name)
        if entry is None or entry["mean"] is None:
            return None
        mean, sd, scale = entry["mean"], entry["sd"] or 0.0, axis_title(name, self.primary)[1]
        low, high = entry.get("low"), entry.get("high")
        down, up = (sd, sd) if low is None or high is None else (max(0, mean - low), max(0, high - mean))
        return mean / scale, down / scale, up / scale
