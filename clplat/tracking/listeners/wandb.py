"""A run of Weights & Biases; its own environment variables say where (``WANDB_MODE=offline``, ...)."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import wandb

from clplat.errors import UserError
from clplat.naming import flat
from clplat.tracking.metrics import closing_metrics, row_metrics, rows_done

__all__ = ["WandbWriter"]


class WandbWriter:
    """One run per folder, in project ``clplat`` unless ``WANDB_PROJECT`` names another; it is resumed.

    Raises:
        UserError: Weights & Biases does not take the run, e.g. without an API key.
    """

    name = "wandb"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.run: Any = None
        self.rows = 0
        self.id = hashlib.blake2b(str(folder.resolve()).encode(), digest_size=8).hexdigest()

    def write(self, result: dict[str, Any]) -> None:
        run, done = self.run or self._begin(result), rows_done(result)
        for row in range(self.rows, done):
            run.log(row_metrics(result, row), step=row)
            self.rows = row + 1
        if result["status"] == "complete":
            run.summary.update(closing_metrics(result))

    def _begin(self, result: dict[str, Any]) -> Any:
        settings = wandb.Settings(silent=True, console="off", init_timeout=60, reinit="create_new")
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            self.run = wandb.init(
                project=None if wandb.setup().settings.project else "clplat",
                name=result["name"],
                id=self.id,
                resume="allow",
                dir=str(self.folder),
                config=flat(result["config"]),
                settings=settings,
            )
        except wandb.errors.Error as error:
            reason = " ".join(str(error).split())
            raise UserError(f"{reason} (WANDB_MODE=offline needs no account)") from None
        self.rows = self.run.step  # what it holds already, where it was resumed
        return self.run

    def close(self) -> None:
        if self.run is not None:
            self.run.finish()
            self.run = None
