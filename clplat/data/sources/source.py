"""A table on disk: its columns by name, read when they are wanted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from clplat.errors import unknown_name
from clplat.extras import named_extras

with named_extras("a table"):
    import pyarrow as pa

if TYPE_CHECKING:
    from clplat.data.column_pictures import ColumnPictures
    from clplat.data.tar_pictures import TarPictures

__all__ = ["Source"]


@dataclass(frozen=True)
class Source:
    """What a reader found out without reading the rows.

    Args:
        path: the file or the folder.
        names: its columns, in their order.
        reader: names of columns -> the table of those, rows in the order of the file.
        pictures: those that lie beside the rows, inside shards or columns; of columns, once these are read.
    """

    path: Path
    names: tuple[str, ...]
    reader: Callable[[Sequence[str]], pa.Table]
    pictures: TarPictures | ColumnPictures | None = None

    def read(self, wanted: Sequence[str]) -> pa.Table:
        """The columns that are wanted, all rows of them.

        Raises:
            UserError: no such column, or a row that cannot be read, by its number.
        """
        for name in wanted:
            if name not in self.names:
                raise unknown_name(f"column of {self.path.name}", name, self.names)
        return self.reader(list(dict.fromkeys(wanted)))
