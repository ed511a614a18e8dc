"""Which reader a path asks for."""

from __future__ import annotations

from pathlib import Path

from clplat.data.column_pictures import ColumnPictures
from clplat.data.sources import csv_file, dataset_folder, json_lines, parquet, tar_shards
from clplat.data.sources.source import Source
from clplat.errors import UserError, nearest

__all__ = ["existing_table", "open_table"]

_FILES = {
    ".csv": csv_file.open_csv,
    ".tsv": csv_file.open_csv,
    ".json": json_lines.open_json_lines,
    ".jsonl": json_lines.open_json_lines,
    ".ndjson": json_lines.open_json_lines,
    ".tar": tar_shards.open_shards,
}
_ALLOWED = (
    "a file .csv, .tsv, .jsonl, .json or .parquet, a folder of .parquet or .tar files, "
    "or a folder that `datasets` has saved"
)


def existing_table(path: str | Path) -> Path:
    """The path of a table; UserError where there is none."""
    found = Path(path).expanduser()
    if not found.exists():
        above = found.parent
        siblings = [entry.name for entry in above.iterdir()] if above.is_dir() else []
        raise UserError(f"no such table: {found}{nearest(found.name, siblings)}; allowed: {_ALLOWED}")
    return found


def open_table(path: str | Path, inside: ColumnPictures | None = None) -> Source:
    """Look at a table: its format by the ending or the content of the folder, and its columns.

    Args:
        path: of the file or folder.
        inside: takes the pictures of columns that hold some (Parquet, `datasets`), in place of its own.

    Raises:
        UserError: nothing is there, another format, no columns.

    Example:
        >>> from tempfile import mkdtemp
        >>> path = Path(mkdtemp()) / "data.csv"
        >>> _ = path.write_text("picture,words\\na.jpg,make it red\\n")
        >>> open_table(path).read(["words"]).to_pylist()
        [{'words': 'make it red'}]
    """
    found = existing_table(path)
    if found.suffix.lower() == ".parquet" and not found.is_dir():
        return parquet.open_parquet(found, inside)
    if not found.is_dir():
        reader = _FILES.get(found.suffix.lower())
        if reader is None:
            raise UserError(f"cannot tell the format of table {found} (allowed: {_ALLOWED})")
        return reader(found)
    if dataset_folder.is_dataset(found):
        return dataset_folder.open_dataset(found, inside)
    if any(found.glob("*.tar")):
        return tar_shards.open_shards(found)
    if any(found.rglob("*.parquet")):
        return parquet.open_parquet(found, inside)
    raise UserError(f"there is no table in folder {found} (allowed: {_ALLOWED})")
