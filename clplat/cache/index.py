"""Where the rows of a table are: in memory, or in segments, which come and go and may be damaged."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from clplat.cache.segments import DamagedError, check_segment, open_segment, segments_in

__all__ = ["Block", "Index"]


@dataclass(eq=False)
class Block:
    """Rows in memory, or mapped from a segment."""

    rows: Tensor
    segment: str = ""  # the name of its file
    foreign: bool = False  # this process did not write it


class Index:
    """Names -> the block and place of their rows, in ``at``; a name's first row stays.

    Args:
        key: of the table; its ``dtype`` and ``shape``, where given, are those of all rows.
        digest: of the key.
        folder: of the table's segments; None: in memory only.
        note: called with what went wrong.
    """

    def __init__(
        self, key: Mapping[str, Any], digest: str, folder: Path | None, note: Callable[[str], None]
    ) -> None:
        self.digest, self.folder, self._note = digest, folder, note
        self.at: dict[str, tuple[Block, int]] = {}
        self.segments: dict[str, Block | None] = {}  # opened ones; None: damaged, or with other rows
        self._unread: set[Block] = set()  # segments of which only the header and the names were read
        dtype, shape = getattr(torch, str(key.get("dtype")), None), key.get("shape")
        self.dtype = dtype if isinstance(dtype, torch.dtype) else None
        self.shape = tuple(shape) if isinstance(shape, list | tuple) else None

    def fits(self, rows: Tensor) -> bool:
        """Whether rows have the table's dtype and shape; the first ones decide what the key leaves open."""
        shape = tuple(rows.shape[1:])
        if self.dtype not in (None, rows.dtype) or self.shape not in (None, shape):
            return False
        self.dtype, self.shape = rows.dtype, shape
        return True

    def enter(self, names: Iterable[str], block: Block) -> None:
        """Add rows of names that are not here."""
        for place, name in enumerate(names):
            self.at.setdefault(name, (block, place))

    def look(self) -> None:
        """Take in what came and went on disk since the last look."""
        there = segments_in(self.folder) if self.folder is not None else {}
        gone = self.segments.keys() - there.keys()
        if gone:
            self.at = {name: at for name, at in self.at.items() if at[0].segment not in gone}
            self.segments = {name: block for name, block in self.segments.items() if name not in gone}
        for name, path in there.items():
            if name not in self.segments:
                self.segments[name] = self._opened(path)

    def check(self, names: Iterable[str]) -> None:
        """Read the segments of these rows to the last byte, each once; what a damaged one held is gone."""
        if not self._unread or self.folder is None:
            return
        names, lost = list(names), list[str]()
        for block in self._unread & {self.at[name][0] for name in names if name in self.at}:
            self._unread.discard(block)
            try:
                check_segment(self.folder / block.segment)
            except FileNotFoundError:
                lost.append(block.segment)
            except DamagedError as error:
                lost.append(block.segment)
                self._say(block.segment, error)
        if lost:  # another segment may have the same rows
            self.at = {name: at for name, at in self.at.items() if not at[0].segment}
            self.segments, self._unread = dict.fromkeys(lost), set()
            self.look()
            self.check(names)

    def _opened(self, path: Path) -> Block | None:
        try:
            names, rows = open_segment(path, self.digest)
        except FileNotFoundError:
            return None
        except DamagedError as error:
            self._say(path.name, error)
            return None
        if not self.fits(rows):
            return None
        block = Block(rows, path.name, foreign=True)
        self.enter(names, block)
        self._unread.add(block)
        return block

    def _say(self, segment: str, error: DamagedError) -> None:
        self._note(f"{self.folder}/{segment} {error}; its rows are computed again (remove that file)")
