"""Recall or zero-shot retention against trained numbers, against FLOPs and against milliseconds per query."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from clplat.plots.canvas import INK, SOFT, panels, titled
from clplat.plots.colours import domain_colour
from sweeps.by_budget.cells import FAMILIES, MIDDLE, REFERENCE
from sweeps.by_budget.reading import Row, final, flops, front, is_frozen, kept, measured
from sweeps.ledger.figure import save

__all__ = ["MEASURES", "draw"]

MEASURES: dict[str, Callable[[Row], float | None]] = {"recall": final, "retention": kept}
_NAMES = {"recall": "final {primary}", "retention": "zero-shot kept, %"}


def draw(entry: Mapping[str, Any], latency: Mapping[str, Any], measure: str, path: Path) -> None:
    """Write the figure of a measure on a stream as a small PNG."""
    rows = measured(entry)
    trained = [row for row in rows if not is_frozen(row)]
    timed = [
        row for row in trained
        if not row["equal_flops"] and row["budget"] in (MIDDLE, None) and row["source"] in latency
    ]  # fmt: skip
    sides: dict[str, tuple[Sequence[Row], Callable[[Row], float]]] = {
        "trained, % of the weights": (
            [row for row in trained if not row["equal_flops"]], lambda row: 100 * row["share"]
        ),
        "training FLOPs": (trained, flops),
        "time of a query, of the bare model's": (timed, lambda row: latency[row["source"]]["ratio"]),
    }  # fmt: skip
    value = MEASURES[measure]
    figure, axes = panels(len(sides), 4.2, 3.9)
    bare = next((value(row) for row in rows if is_frozen(row)), None)
    for place, ((across, (shown, cost)), one) in enumerate(zip(sides.items(), axes, strict=True)):
        name = _NAMES[measure].format(primary=entry["primary"])
        titled(one, name if place == 0 else "", across, "")
        if bare is not None:
            one.axhline(bare, color=SOFT, lw=0.8, ls="--", zorder=1)
        _points(one, [row for row in shown if value(row) is not None], cost, value)
        if place < 2:
            one.set_xscale("log")
    handles = [
        axes[0].plot([], [], "o", color=domain_colour(i, len(FAMILIES)), label=family)[0]
        for i, family in enumerate(FAMILIES)
    ]
    handles += [
        axes[0].plot([], [], "s", color=INK, label="LoRA")[0],
        axes[0].plot([], [], "o", mfc="none", color=SOFT, label="epochs for equal FLOPs")[0],
        axes[0].plot([], [], "--", color=SOFT, label="untrained")[0],
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=5, frameon=False, fontsize=8.5)
    save(figure, path)


def _points(axes: Any, rows: Sequence[Row], cost: Callable[[Row], float], value: Any) -> None:
    for row in rows:
        reference = row["source"] == REFERENCE
        colour = INK if reference else domain_colour(FAMILIES.index(row["family"]), len(FAMILIES))
        face = "none" if row["equal_flops"] else colour
        axes.scatter(
            [cost(row)], [value(row)], edgecolors=colour, facecolors=face, s=22, lw=1,
            marker="s" if reference else "o", zorder=3 if reference else 2,
        )  # fmt: skip
    for x, y, name in front((cost(row), value(row), row["source"]) for row in rows):
        axes.annotate(name, (x, y), xytext=(3, 4), textcoords="offset points", fontsize=7, color=SOFT)
