"""Pictures inside a column of a table, as ``{bytes, path}``; read again when their pixels are needed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from clplat.data.decoding import BadPicture, decode
from clplat.data.items import Picture

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["ColumnPictures", "has_pictures"]

#: Reads a cell again. The file or folder, the part of it, the name of the column, the row -> its bytes.
Reader = Callable[[str, Any, str, int], bytes]


def has_pictures(kind: Any) -> bool:
    """Whether a column of this type of Arrow's holds pictures, as `datasets` stores them."""
    import pyarrow as pa

    names = {kind.field(i).name for i in range(kind.num_fields)} if pa.types.is_struct(kind) else set()
    return names == {"bytes", "path"}


class ColumnPictures:
    """Pictures by a digest of their bytes, so that equal ones have one name, whatever table they are in.

    Args:
        source: what they are of: the beginning of their keys.
    """

    def __init__(self, source: str = "table") -> None:
        self.source = source
        self.members: dict[str, tuple[Reader, str, Any, str, int]] = {}
        self._absent: dict[str, None] = {}

    def of(self, source: str) -> ColumnPictures:
        """The same pictures, their keys beginning with another word."""
        found = ColumnPictures(source)
        found.members = self.members
        return found

    def named(self, table: Any, reader: Reader, where: str, part: Any, first: int = 0) -> Any:
        """A table whose columns of pictures are columns of their names; of one without bytes its path.

        Args:
            table: rows of Arrow.
            reader: reads a cell again, of ``where`` and ``part``.
            first: number of the first row in that part.
        """
        import pyarrow as pa

        for place, name in enumerate(table.column_names):
            if has_pictures(table.schema.field(name).type):
                names: list[str | None] = []
                for row, cell in enumerate(table.column(name), first):
                    content = cell["bytes"].as_py() if cell.is_valid else None
                    if content is None:
                        names.append(cell["path"].as_py() if cell.is_valid else None)
                        continue
                    names.append(hashlib.blake2b(content, digest_size=12).hexdigest())
                    self.members.setdefault(str(names[-1]), (reader, where, part, name, row))
                table = table.set_column(place, name, pa.array(names, pa.large_string()))
        return table

    @property
    def absent(self) -> tuple[str, ...]:
        """Keys of the pictures that were named and are not there."""
        return tuple(self._absent)

    def look(self, names: Iterable[str]) -> None:
        """Remember in `absent` which of these are not there."""
        for name in names:
            if name not in self.members:
                self._absent[f"{self.source}/{name}"] = None

    def picture(self, name: str, caption: str | None = None) -> Picture:
        """The picture of this name; a new object at every call."""
        key = f"{self.source}/{name}"
        if name not in self.members:
            self._absent[key] = None
            return Picture(key, partial(_refused, name), caption)
        load = partial(_open, name, *self.members[name])
        return Picture(key, load, caption, sized=load)

    unkept = picture


def _open(
    name: str, reader: Reader, where: str, part: Any, column: str, row: int, least: int = 0
) -> Image.Image:
    try:
        return decode(reader(where, part, column, row), least)
    except Exception as error:  # codecs raise whatever they like
        reason = " ".join(str(error).split()) or type(error).__name__
        raise BadPicture(f"cannot read picture {name} in column '{column}' of {where}: {reason}") from error


def _refused(name: str) -> Image.Image:
    raise BadPicture(f"no such picture: {name} is neither in the table nor a file")
