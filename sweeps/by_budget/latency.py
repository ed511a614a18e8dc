"""How long one query takes with each adapter or prompt attached, beside the bare model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from clplat.errors import UserError
from sweeps.by_budget.cells import FROZEN, MIDDLE, Cell
from sweeps.under_change.latency import ready, times

__all__ = ["latencies"]


def latencies(cells: Sequence[Cell], base: Mapping[str, Any] | None = None) -> dict[str, dict[str, Any]]:
    """Source -> ``ms`` of a query, its ``ratio`` to the bare model timed in turn, ``trained`` numbers.

    Args:
        cells: of which each source is timed once, untrained, at the middle budget or in its one size.
        base: the backbone, if it is not the shipped one.
    """
    plain = ready({}, base)
    found: dict[str, dict[str, Any]] = {}
    for cell in cells:
        name = cell.source.name
        if cell.flops or (name in found and cell.budget != MIDDLE):
            continue
        raw = {slot: part for slot, part in cell.system.raw.items() if slot not in ("strategy", "train")}
        try:
            taken = times(plain if name == FROZEN else ready(raw, base), plain, 1)
        except UserError as error:
            print(f"{name} is not timed: {error}", flush=True)
            continue
        found[name] = {"ms": taken["query"], "ratio": taken["ratio"], "trained": cell.point.trained}
    return dict(sorted(found.items()))
