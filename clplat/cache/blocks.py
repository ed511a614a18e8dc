"""Rows of one table in the memory of this process: a few blocks of rows, and one index from names to rows."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

__all__ = ["Block", "Blocks"]

_PLACE = 32  # bits of a row's place within its block; the bits above are the block's number


@dataclass(eq=False)
class Block:
    """Rows that lie together: a mapped segment, or memory where ``path`` is None."""

    names: list[str]
    rows: Tensor  # may have room for more rows than there are names
    path: Path | None = None
    foreign: bool = False  # holds rows that this process did not write
    used: float = 0.0  # when this process last noted that it uses the file
    gone: bool = False  # its file was deleted by this process
    number: int = -1  # among all blocks, since it was added


class Blocks:
    """Finds rows by name with dict lookups and one ``index_select`` a block.

    A name in several blocks is taken from the first one.

    Example:
        >>> blocks = Blocks()
        >>> block = blocks.add(Block(["a", "b"], torch.tensor([[1.0], [2.0]])))
        >>> blocks.gather(blocks.find(["b", "a", "b"]))[0].squeeze(1)
        tensor([2., 1., 2.])
    """

    def __init__(self) -> None:
        self.index: dict[str, int] = {}
        self._blocks: dict[int, Block] = {}
        self._next = 0

    def __iter__(self) -> Iterator[Block]:
        return iter(self._blocks.values())

    @property
    def nbytes(self) -> int:
        """Bytes of all rows."""
        return sum(block.rows.nbytes for block in self)

    def add(self, block: Block) -> Block:
        """Add a block; its rows are kept, not copied."""
        block.number = self._next
        self._next += 1
        self._blocks[block.number] = block
        self._enter(block, 0)
        return block

    def extend(self, block: Block, names: Sequence[str], rows: Tensor) -> None:
        """Copy rows to the end of a block."""
        start, end = len(block.names), len(block.names) + len(names)
        if end > len(block.rows):  # doubled, so that a row is copied about twice however many calls there are
            room = block.rows.new_empty((max(end, 2 * start), *rows.shape[1:]))
            room[:start] = block.rows[:start]
            block.rows = room
        block.rows[start:end] = rows
        block.names.extend(names)
        self._enter(block, start)

    def forget(self, blocks: Iterable[Block]) -> None:
        """Leave blocks out from now on."""
        leaving = {block.number for block in blocks}
        if not leaving:
            return
        self._blocks = {number: block for number, block in self._blocks.items() if number not in leaving}
        self.index = {}
        for block in self:
            self._enter(block, 0)

    def find(self, names: Sequence[str]) -> Tensor:
        """Where the rows of these names are; `KeyError` when there is no such row."""
        return torch.tensor([self.index[name] for name in names], dtype=torch.int64, device="cpu")

    def gather(self, numbers: Tensor) -> tuple[Tensor, list[Block]]:
        """The rows that `find` found, at least one, and the blocks that they came from."""
        which, places = numbers >> _PLACE, numbers & (2**_PLACE - 1)
        blocks = [self._blocks[number] for number in sorted(set(which.tolist()))]
        if len(blocks) == 1:
            return blocks[0].rows.index_select(0, places), blocks
        result = blocks[0].rows.new_empty((len(numbers), *blocks[0].rows.shape[1:]))
        for block in blocks:
            where = (which == block.number).nonzero().squeeze(1)
            result[where] = block.rows.index_select(0, places[where])
        return result, blocks

    def groups(self, most: int, size: int) -> list[list[Block]]:
        """Mapped blocks to join into some of ``size`` bytes each; none while at most ``most`` are small."""
        small = [block for block in self if block.path is not None and 2 * block.rows.nbytes < size]
        if len(small) <= most:
            return []
        groups: list[list[Block]] = [[]]
        for block in small:
            if sum(other.rows.nbytes for other in groups[-1]) + block.rows.nbytes > size:
                groups.append([])
            groups[-1].append(block)
        return groups

    def joined(self, group: Sequence[Block]) -> Block:
        """The rows of several blocks, each name once, in a block that is not among these."""
        names: list[str] = []
        rows = []
        for block in group:
            base = block.number << _PLACE
            own = [place for place, name in enumerate(block.names) if self.index[name] == base + place]
            names += [block.names[place] for place in own]
            rows.append(block.rows.index_select(0, torch.tensor(own, dtype=torch.int64, device="cpu")))
        return Block(names, torch.cat(rows), foreign=any(block.foreign for block in group))

    def foreign(self, among: Collection[str] | None = None) -> list[str]:
        """The names of rows that lie in foreign blocks."""
        numbers = {block.number for block in self if block.foreign}
        names = self.index if among is None else [name for name in dict.fromkeys(among) if name in self.index]
        return [name for name in names if self.index[name] >> _PLACE in numbers]

    def _enter(self, block: Block, start: int) -> None:
        base = block.number << _PLACE
        for place in range(start, len(block.names)):
            self.index.setdefault(block.names[place], base + place)
