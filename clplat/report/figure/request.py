"""The description of a sweep's own figure, with everything that the drawing reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clplat.errors import unknown_name
from clplat.plots.styles import Style
from clplat.report.figures import mean_and_sd
from clplat.report.outcome import Outcome, Row, Runs

__all__ = ["FigureRequest", "Spread", "spread_of"]

Spread = tuple[float, float, float]


@dataclass(frozen=True)
class FigureRequest:
    """A figure that a sweep requests.

    Args:
        figure: ``outcome["figure"]``.
        styles: by label.
    """

    outcome: Outcome
    figure: Mapping[str, Any]
    runs: Runs
    styles: Mapping[str, Style]

    @property
    def rows(self) -> Sequence[Row]:
        """All rows, best first within each group."""
        rows: Sequence[Row] = self.outcome["rows"]
        return rows

    @property
    def primary(self) -> str:
        return str(self.outcome["primary"])

    @property
    def title(self) -> str:
        """The figure's own title, or the name of the sweep."""
        return str(self.figure.get("title") or self.outcome["name"])

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


def spread_of(row: Row, name: str, scale: float) -> Spread | None:
    """(mean, how far down, how far up): the interval of the final score, one sd of anything else.

    Args:
        scale: what all three are divided by.
    """
    known = mean_and_sd(row, name)
    if known is None:
        return None
    mean, sd = known
    down = up = sd
    score = row["score"]
    if name == "final" and score["low"] is not None and score["high"] is not None:
        down, up = max(0.0, mean - score["low"]), max(0.0, score["high"] - mean)
    return mean / scale, down / scale, up / scale
