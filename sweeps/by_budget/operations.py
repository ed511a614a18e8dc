"""As many operations as the reference: the same cells, with the epochs that these pay for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from clplat.config.raw import merge
from clplat.config.resolve import resolve
from clplat.documents.result import read_result
from clplat.runs.run_folder import RESULT
from sweeps.by_budget.cells import MIDDLE, REFERENCE, Cell, label
from sweeps.ledger.jobs import Stream, jobs_of, laid_out, state_of

__all__ = ["MOST_EPOCHS", "at_equal_flops"]

#: More passes over the data than this many times the stream's are not made for equal operations.
MOST_EPOCHS = 10


def at_equal_flops(cells: Sequence[Cell], stream: Stream, seed: int, out: Path) -> list[Cell]:
    """Cells of the middle budget or of one size again, with as many epochs as the reference's operations pay.

    Those whose epochs stay the same are equal already. What has not run yet, or trains nothing, is left out.
    """
    epochs = resolve(stream.base).as_dict()["train"]["epochs"]
    spent = {
        cell.system.name: _flops(cell, stream, seed, out)
        for cell in cells
        if cell.budget in (MIDDLE, None) and cell.point.trained
    }
    whole = spent.get(label(REFERENCE, MIDDLE))
    found: list[Cell] = []
    for cell in cells if whole else ():
        own = spent.get(cell.system.name)
        if not whole or not own:
            continue
        asked = min(max(round(epochs * whole / own), 1), MOST_EPOCHS * epochs)
        if asked != epochs:
            raw = merge(cell.system.raw, {"train": {"epochs": asked}})
            name = f"{cell.system.name}, equal FLOPs"
            system = replace(cell.system, name=name, raw=raw, against=label(REFERENCE, MIDDLE))
            found.append(replace(cell, flops=True, system=system))
    return found


def _flops(cell: Cell, stream: Stream, seed: int, out: Path) -> float | None:
    """What a finished run computed in training."""
    layout, finals = laid_out(stream, cell.system, (seed,))
    job = jobs_of(layout, finals, out / stream.name)[0]
    if state_of(job)["state"] != "complete":
        return None
    return float(read_result(job.folder / RESULT)["cost"]["training_flops"])
