"""The figure of a stream: what each composer ends at, forgets, keeps on new domains and in old indexes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clplat.plots.canvas import INK, SOFT, panels
from clplat.plots.colours import strategy_colour
from sweeps.ledger.figure import save
from sweeps.under_change.cells import STRATEGIES
from sweeps.under_change.reading import Line, change, forgets, lines_of

__all__ = ["PANELS", "draw"]

#: Title -> value of a cell's row.
PANELS = {
    "final {primary}; grey: untrained": lambda row: row["score"]["mean"],
    "forgetting, points": forgets,
    "new domains, points": lambda row: change(row, "new", "new_before"),
    "old indexes, % of new": lambda row: row["more"]["old_index"],
}
_ROW = 0.19
_HEIGHTS = (0.27, 0.09, -0.09, -0.27)  # of the strategies' dots about their line


def draw(entry: Mapping[str, Any], towers: str, path: Path) -> None:
    """Write the figure of a stream with frozen or trained towers as a small PNG; best at the top."""
    lines = [line for line in lines_of(entry, towers) if line.final is not None][::-1]
    figure, axes = panels(len(PANELS), 2.9, 1.4 + _ROW * len(lines))
    for (title, value), one in zip(PANELS.items(), axes, strict=True):
        one.set_title(
            title.format(primary=entry["primary"]), loc="left", fontsize=10, fontweight="bold", color=INK
        )
        for strategy, above in zip(STRATEGIES, _HEIGHTS, strict=True):
            _dots(one, lines, strategy, above, value)
        one.set_yticks(
            range(len(lines)), [line.name for line in lines] if one is axes[0] else [""] * len(lines)
        )
        one.set_ylim(-1, len(lines))
    places = [(line.untrained, place) for place, line in enumerate(lines) if line.untrained is not None]
    axes[0].scatter([x for x, _ in places], [y for _, y in places], marker="|", c=SOFT, s=60, zorder=2)
    for label, line in zip(axes[0].get_yticklabels(), lines, strict=True):
        label.set(
            color=INK if line.blind else SOFT, fontsize=8, fontweight="bold" if line.blind else "normal"
        )
    handles = [
        axes[0].plot([], [], "o", color=strategy_colour(name), label=name.replace("_", " "))[0]
        for name in STRATEGIES
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    save(figure, path)


def _dots(axes: Any, lines: Sequence[Line], strategy: str, above: float, value: Any) -> None:
    known = [
        (value(line.rows[strategy]), place + above)
        for place, line in enumerate(lines)
        if strategy in line.rows
    ]
    known = [(x, y) for x, y in known if x is not None]
    axes.scatter(
        [x for x, _ in known], [y for _, y in known], c=strategy_colour(strategy), s=12, lw=0, zorder=3
    )
