"""Pictures inside a column of a table, as ``{bytes, path}``; read again when their pixels are needed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from clplat.data.decoding import BadPicture
from clplat.data.indexed_pictures import IndexedPictures, decoded
from clplat.data.items import Picture

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["ColumnPictures", "has_pictures"]

#: Reads a cell again. The file or folder, the part of it, the name of the column, the row -> its bytes.
Reader = Callable[[str, Any, str, int], bytes]
Cell = tuple[Reader, str, Any, str, int]


def has_pictures(kind: Any) -> bool:
    """Whether a column of this type of Arrow's holds pictures, as `datasets` stores them."""
    import pyarrow as pa

    names = {kind.field(i).name for i in range(kind.num_fields)} if pa.types.is_struct(kind) else set()
    return names == {"bytes", "path"}


class ColumnPictures(IndexedPictures[Cell]):
    """Pictures by a digest of their bytes, so that equal ones have one name, whatever table they are in.

    Args:
        source: what they are of: the beginning of their keys.
    """

    def __init__(self, source: str = "table") -> None:
        self.members: dict[str, Cell] = {}
        super().__init__(self.members, source)

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

    def _found(self, key: str, name: str, member: Cell, caption: str | None) -> Picture:
        load = partial(_open, name, *member)
        return Picture(key, load, caption, sized=load)

    def _refused(self, name: str) -> Callable[[], Image.Image]:
        return partial(_absent_cell, name)


def _open(
    name: str, reader: Reader, where: str, part: Any, column: str, row: int, least: int = 0
) -> Image.Image:
    return decoded(lambda: reader(where, part, column, row), least, f"{name} in column '{column}' of {where}")


def _absent_cell(name: str) -> Image.Image:
    raise BadPicture(f"no such picture: {name} is neither in the table nor a file")
