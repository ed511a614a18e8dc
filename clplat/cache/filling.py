"""Making the rows that a table lacks, so that a row's bits depend on the item alone."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from clplat.cache.counts import Counts, Rate
from clplat.cache.store import Table
from clplat.errors import UserError
from clplat.flops import FlopCount

__all__ = ["Filler", "Items"]

#: Relative difference beyond which a row from disk is not what the model computes.
TOLERANCE = {torch.float32: 1e-4, torch.float16: 2e-3}
#: Missing rows from which on a table is locked while they are made.
MANY = 128
#: Positions of items -> what goes into the tower for them.
Load: TypeAlias = Callable[[Sequence[int]], Tensor]
#: That, and the group that the items are of -> their rows.
Encode: TypeAlias = Callable[[Tensor, int], Tensor]


@dataclass(frozen=True)
class Items:
    """Which rows are needed, and how they are made.

    Args:
        names: of all items; equal names are one item.
        load: decodes items, say; called with positions of one group.
        encode: makes their rows.
        groups: positions by group; texts of one length are a group.
        chunks: items per forward pass, for each group. Always this many, padded by repetition:
            matrix products of other shapes round otherwise.
    """

    names: Sequence[str]
    load: Load
    encode: Encode
    groups: Mapping[int, Sequence[int]]
    chunks: Mapping[int, int]


class Filler:
    """Brings items into tables.

    Args:
        dtype: of rows at rest.

    Attributes:
        counting: add up the floating-point operations spent on rows, made or checked, in ``flops``.
    """

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self.counting, self.flops = False, 0
        self._met: set[str] = set()
        self._rates: dict[tuple[str, int], Rate] = {}

    def fill(self, table: Table, counts: Counts, items: Items) -> None:
        """Make the rows of these items that are missing.

        Raises:
            UserError: rows that another process left are not what ``encode`` gives.
        """
        with FlopCount() if self.counting else nullcontext() as counter:
            made = self._filled(table, counts, items)
        self.flops += counter.total if counter is not None else 0
        for group, rows in items.groups.items():
            rate = self._rates.get((table.digest, group))
            if rate is not None:
                counts.seconds_saved += rate.of(len(rows) - made[group])

    def _filled(self, table: Table, counts: Counts, items: Items) -> dict[int, int]:
        """Check the first rows from disk, make the missing ones; return how many of each group."""
        if table.digest not in self._met and table.foreign:
            for group in items.groups:
                self._check(table, items, group)
        wanted = [items.names[i] for rows in items.groups.values() for i in rows]
        missing = set(table.missing(wanted))
        if len(missing) > MANY:
            with table.filling():  # another process may be making them: its rows need not be made again
                return self._make(table, counts, items, set(table.missing(wanted)))
        return self._make(table, counts, items, missing) if missing else dict.fromkeys(items.groups, 0)

    def _make(self, table: Table, counts: Counts, items: Items, missing: set[str]) -> dict[int, int]:
        """Make these rows; return how many of each group."""
        made = {}
        for group, rows in items.groups.items():
            place = {items.names[i]: i for i in reversed(rows) if items.names[i] in missing}
            positions, chunk = sorted(place.values()), items.chunks[group]
            made[group] = len(positions)
            counts.made(table.digest, [items.names[i] for i in positions])
            rate = self._rates.setdefault((table.digest, group), Rate())
            for start in range(0, len(positions), chunk):
                chosen = positions[start : start + chunk]
                padded = chosen + chosen[:1] * (chunk - len(chosen))
                with torch.inference_mode(False), torch.no_grad():
                    x = items.load(padded)
                    began = time.perf_counter()
                    found = items.encode(x, group)[: len(chosen)].to("cpu", self.dtype)
                    rate.add(chunk, time.perf_counter() - began)
                    table.put([items.names[i] for i in chosen], found)
        return made

    def _check(self, table: Table, items: Items, group: int) -> None:
        """The first rows of a table that come from disk must be what the model computes, a few of them."""
        place = {items.names[i]: i for i in items.groups[group]}
        known = table.sample(4, place.keys())
        if not known:
            return
        self._met.add(table.digest)
        with torch.inference_mode(False), torch.no_grad():
            x = items.load([place[name] for name in known])
            began = time.perf_counter()
            made = items.encode(x, group).float().cpu()
        self._rates.setdefault((table.digest, group), Rate()).add(len(known), time.perf_counter() - began)
        stored = table.rows(known).float()
        gap = float((made - stored).abs().max() / made.abs().max().clamp_min(1e-12))
        if not gap <= TOLERANCE[self.dtype]:
            key = json.dumps(dict(table.key), sort_keys=True)
            raise UserError(
                f"rows of the feature store are not what the model computes (off by {gap:.1e} of the largest "
                f"value): two pictures share a key, or a file was damaged; run `clplat cache clear` or use "
                f"--features off (table {table.digest[:12]}, key {key})"
            )
