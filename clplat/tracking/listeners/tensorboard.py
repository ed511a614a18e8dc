"""Event files in ``tensorboard/`` of a run's folder: see them with ``tensorboard --logdir runs``."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from clplat.tracking.metrics import closing_metrics, row_metrics, rows_done

__all__ = ["TensorBoardWriter"]


class TensorBoardWriter:
    """A scalar per metric, its step the domains trained; what an earlier process wrote is replaced."""

    name = "tensorboard"

    def __init__(self, folder: Path) -> None:
        self.folder, self.rows = folder, 0
        self.events: SummaryWriter | None = None
        self.whole = False

    def write(self, result: dict[str, Any]) -> None:
        events = self.events if self.events is not None and self.whole else self._begun()
        self.whole = False  # begun anew where the rest fails
        done = rows_done(result)
        for row in range(self.rows, done):
            for name, value in row_metrics(result, row).items():
                events.add_scalar(name, value, row)
        if result["status"] == "complete":
            for name, value in closing_metrics(result).items():
                events.add_scalar(name, value, done - 1)
        events.flush()
        self.rows, self.whole = done, True

    def _begun(self) -> SummaryWriter:
        """Not before there is a row: until then the folder may be another experiment's."""
        with suppress(Exception):  # what it failed of was said
            self.close()
        where, self.rows = self.folder / "tensorboard", 0
        shutil.rmtree(where, ignore_errors=True)
        self.events = SummaryWriter(str(where))
        return self.events

    def close(self) -> None:
        if self.events is not None:
            self.events.close()
