"""``metrics.csv`` in the folder of a run: a line per model version, a column per metric."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from clplat.files import write_text
from clplat.tracking.metrics import row_metrics, rows_done

__all__ = ["CsvWriter"]


class CsvWriter:
    """Writes the file anew whenever the result grew; ``after`` is the domain that was trained last."""

    name = "csv"

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, result: dict[str, Any]) -> None:
        from pandas import DataFrame

        after = ["", *result["domains"]]
        rows = [
            {"step": row, "after": after[row], **row_metrics(result, row)} for row in range(rows_done(result))
        ]
        write_text(self.folder / "metrics.csv", DataFrame(rows).to_csv(index=False))

    def close(self) -> None:
        """The file is complete after each `write`."""
