"""A folder that `datasets` has saved: ``Dataset.save_to_disk`` or ``DatasetDict.save_to_disk``."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from clplat.data.column_pictures import ColumnPictures, has_pictures
from clplat.data.sources.source import Source
from clplat.errors import UserError
from clplat.extras import named_extras

__all__ = ["is_dataset", "open_dataset"]

#: The column that says which of its datasets a row is of.
SPLIT = "split"
_AT_ONCE = 1 << 10  # rows with pictures


def is_dataset(folder: Path) -> bool:
    """Whether `datasets` has saved this folder."""
    return (folder / "dataset_dict.json").is_file() or (folder / "dataset_info.json").is_file()


def open_dataset(folder: Path, inside: ColumnPictures | None = None) -> Source:
    """The rows of a dataset, or of all datasets of a dictionary with a further column ``split``.

    Args:
        folder: as it was saved.
        inside: takes the pictures of columns that hold some; those columns are read as their names.

    Raises:
        UserError: `datasets` cannot read the folder, or its datasets have different columns.
    """
    with named_extras("a folder that `datasets` has saved"):
        import datasets
    inside = ColumnPictures() if inside is None else inside
    try:
        held: Any = datasets.load_from_disk(str(folder))
    except Exception as error:  # it raises whatever it likes
        raise UserError(f"{folder} cannot be read by `datasets`: {' '.join(str(error).split())}") from error
    if not isinstance(held, dict):
        reader = partial(_read, {"": held}, inside, str(folder))
        return Source(folder, tuple(held.column_names), reader, inside)
    names = list(next(iter(held.values())).column_names)
    for split, part in held.items():
        if set(part.column_names) != set(names):
            raise UserError(
                f"{folder}: '{split}' has other columns than the first: {', '.join(part.column_names)}"
            )
    more = [] if SPLIT in names else [SPLIT]
    return Source(folder, (*names, *more), partial(_read, dict(held), inside, str(folder)), inside)


def _read(held: dict[str, Any], inside: ColumnPictures, folder: str, wanted: Sequence[str]) -> pa.Table:
    parts = []
    for split, part in held.items():
        own = [name for name in wanted if name in part.column_names]
        chosen = part.select_columns(own).with_format("arrow")
        if any(has_pictures(field.type) for field in chosen.features.arrow_schema):
            table = pa.concat_tables(
                inside.named(chosen[at : at + _AT_ONCE], _cell, folder, split, at)
                for at in range(0, len(chosen), _AT_ONCE)
            )
        else:
            table = chosen[:]
        if SPLIT in wanted and SPLIT not in own:
            table = table.append_column(SPLIT, pa.array([split] * len(part), pa.string()))
        parts.append(table.select(list(wanted)))
    return pa.concat_tables(parts, promote_options="permissive")


def _cell(folder: str, split: str, column: str, row: int) -> bytes:
    """The bytes of a picture, by its row in a dataset."""
    found: bytes = _opened(folder, split, column)[row].column(0)[0]["bytes"].as_py()
    return found


@lru_cache(maxsize=8)
def _opened(folder: str, split: str, column: str) -> Any:
    import datasets

    held: Any = datasets.load_from_disk(folder)
    return (held[split] if split else held).select_columns([column]).with_format("arrow")
