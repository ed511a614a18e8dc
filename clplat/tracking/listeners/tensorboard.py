"""Event files in ``tensorboard/`` of a run's folder: see them with ``tensorboard --logdir runs``."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from clplat.tracking.metrics import closing_metrics, row_metrics, rows_done

__all__ = ["TensorBoardWriter"]


class TensorBoardWriter:
    """A scalar per metric, its step the domains trained; what an earlier process wrote is replaced."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.rows = folder / "tensorboard", 0
        self.events: SummaryWriter | None = None

    def write(self, result: dict[str, Any]) -> None:
        if self.events is None:  # not before: until there is a row, the folder may be another experiment's
            shutil.rmtree(self.folder, ignore_errors=True)
            self.events = SummaryWriter(str(self.folder))
        done = rows_done(result)
        for row in range(self.rows, done):
            for name, value in row_metrics(result, row).items():
                self.events.add_scalar(name, value, row)
        self.rows = done
        if result["status"] == "complete":
            for name, value in closing_metrics(result).items():
                self.events.add_scalar(name, value, done - 1)
        self.events.flush()

    def close(self) -> None:
        if self.events is not None:
            self.events.close()
