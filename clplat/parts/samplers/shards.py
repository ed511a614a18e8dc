"""Batches in the order in which tar files are read."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import TypeVar

import torch

from clplat.data.lazy import places_of
from clplat.data.records import Example
from clplat.parts.samplers._base import Embed, Sampler
from clplat.parts.samplers.shuffled import cut

__all__ = ["Shards"]

T = TypeVar("T")


class Shards(Sampler):
    """Reads shards one after the other, in random order, and shuffles within a bounded part of them.

    For pictures in tar files on disks and networks where a jump costs more than a read. As `webdataset` does
    it: the shards are shuffled, each is read in the order of the file, and ``buffer`` examples at a time are
    shuffled before they are cut into batches. An example lies where its reference lies, or its target where
    the reference is in no shard; one that has neither there, such as a file's, comes at a random place among
    the others. Where all examples fit the buffer, batches are those of `Shuffled`, drawn otherwise.

    Two things differ from webdataset's buffer. It is emptied before it is filled again, so that no read goes
    back further than its length; and it holds places, not pictures: what is in memory is a batch.

    Args:
        buffer: examples that are shuffled among each other; 1 keeps the order of the file.
        at_once: shards that are read at the same time, in turns batch by batch. Loader workers take batches
            in turns as well: with as many of them (``train.workers``) each reads shards of its own. What is
            trained does not depend on the number of workers.

    References:
        Aizman et al. 2019 (WebDataset), arXiv 2001.01858; ``shardshuffle`` and ``shuffle`` of its pipelines.

    Example:
        >>> Shards(buffer=100, at_once=2).looks
        False
    """

    def __init__(self, buffer: int = 1000, at_once: int = 1) -> None:
        for name, value in (("buffer", buffer), ("at_once", at_once)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}")
        self.buffer, self.at_once = buffer, at_once

    def batches(
        self, examples: Sequence[Example], size: int, draw: torch.Generator, embed: Embed
    ) -> list[list[int]]:
        shards: dict[str, list[tuple[int, int]]] = {}
        elsewhere: list[int] = []
        for row, place in enumerate(places_of(examples)):
            if place is None:
                elsewhere.append(row)
            else:
                shards.setdefault(place[0], []).append((place[1], row))
        lanes: list[list[int]] = [[] for _ in range(max(1, min(self.at_once, len(shards))))]
        for shard in _shuffled(list(shards.values()), draw):
            min(lanes, key=len).extend(row for _, row in sorted(shard))
        elsewhere = _shuffled(elsewhere, draw)
        for number, lane in enumerate(lanes):
            lane[:] = self._through_buffer(_merged(lane, elsewhere[number :: len(lanes)], draw), draw)
        starts = range(0, max(map(len, lanes)), size)
        whole = (lane[i : i + size] for i in starts for lane in lanes if i + size <= len(lane))
        rest = (lane[len(lane) // size * size :] for lane in lanes)
        return cut([*chain.from_iterable(whole), *chain.from_iterable(rest)], size)

    def _through_buffer(self, rows: list[int], draw: torch.Generator) -> list[int]:
        """Shuffled so many at a time; the first are fewer, so that other rows meet in the next pass."""
        first = self.buffer
        if len(rows) > self.buffer:
            first = int(torch.randint(1, self.buffer + 1, (), generator=draw))
        starts = range(first - self.buffer, len(rows), self.buffer)
        return [row for i in starts for row in _shuffled(rows[max(0, i) : i + self.buffer], draw)]


def _shuffled(rows: Sequence[T], draw: torch.Generator) -> list[T]:
    return [rows[i] for i in torch.randperm(len(rows), generator=draw).tolist()]


def _merged(ordered: list[int], others: list[int], draw: torch.Generator) -> list[int]:
    """Rows in their order, with others at random places among them."""
    count = len(ordered) + len(others)
    taken = set(torch.randperm(count, generator=draw)[: len(others)].tolist())
    one, other = iter(ordered), iter(others)
    return [next(other if i in taken else one) for i in range(count)]
