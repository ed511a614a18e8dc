"""A folder that `datasets` has saved: ``Dataset.save_to_disk`` or ``DatasetDict.save_to_disk``."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from clplat.data.sources.source import Source
from clplat.errors import UserError
from clplat.extras import named_extras

__all__ = ["is_dataset", "open_dataset"]

#: The column that says which of its datasets a row is of.
SPLIT = "split"


def is_dataset(folder: Path) -> bool:
    """Whether `datasets` has saved this folder."""
    return (folder / "dataset_dict.json").is_file() or (folder / "dataset_info.json").is_file()


def open_dataset(folder: Path) -> Source:
    """The rows of a dataset, or of all datasets of a dictionary with a further column ``split``.

    Raises:
        UserError: `datasets` cannot read the folder, or its datasets have different columns.
    """
    with named_extras("a folder that `datasets` has saved"):
        import datasets
    try:
        held: Any = datasets.load_from_disk(str(folder))
    except Exception as error:  # it raises whatever it likes
        raise UserError(f"{folder} cannot be read by `datasets`: {' '.join(str(error).split())}") from error
    if not isinstance(held, dict):
        return Source(folder, tuple(held.column_names), partial(_read, {"": held}))
    names = list(next(iter(held.values())).column_names)
    for split, part in held.items():
        if set(part.column_names) != set(names):
            raise UserError(
                f"{folder}: '{split}' has other columns than the first: {', '.join(part.column_names)}"
            )
    more = [] if SPLIT in names else [SPLIT]
    return Source(folder, (*names, *more), partial(_read, dict(held)))


def _read(held: dict[str, Any], wanted: Sequence[str]) -> pa.Table:
    parts = []
    for split, part in held.items():
        own = [name for name in wanted if name in part.column_names]
        table = part.select_columns(own).with_format("arrow")[:]
        if SPLIT in wanted and SPLIT not in own:
            table = table.append_column(SPLIT, pa.array([split] * len(part), pa.string()))
        parts.append(table.select(list(wanted)))
    return pa.concat_tables(parts, promote_options="permissive")
