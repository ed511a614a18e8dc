"""A gallery, and rows of it, in any form that a caller has; and the exact score of a query and a row.

The score of gallery row g for query q is the dot product in float32, its products added by halves in one
fixed order: the same two rows score the same bits in any block and on any number of threads, so equal
pictures tie.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clplat.parts.scorers._base import Scorer


@dataclass(frozen=True)
class Scored:
    """A gallery that is compared with queries by a scorer of its own; `rows` as in `Embeddings`.

    Example:
        >>> from clplat.parts.scorers.filip import Filip
        >>> GalleryReader(Scored(torch.zeros(5, 12), Filip(vectors=4))).shape
        (5, 12)
    """

    rows: Tensor | NDArray[Any] | Sequence[Tensor] | Sequence[NDArray[Any]]
    scorer: Scorer


#: A gallery (G, D): a matrix, which may be memory-mapped, or a sequence of blocks (n, D), which may load each
#: when it is read. Scores are dot products, unless it is `Scored`.
Embeddings: TypeAlias = Tensor | NDArray[Any] | Sequence[Tensor] | Sequence[NDArray[Any]] | Scored
#: Gallery rows of each query: (Q,), (Q, P) padded with -1, or one list or LongTensor a query.
Rows: TypeAlias = Tensor | Sequence[int] | Sequence[Sequence[int]] | Sequence[Tensor]


class GalleryReader:
    """Reads `Embeddings`; ValueError where they are empty or no matrices of one width."""

    def __init__(self, gallery: Embeddings) -> None:
        self.scorer: Scorer | None = None
        if isinstance(gallery, Scored):
            # A matrix product serves every scorer that is one.
            self.scorer, gallery = None if gallery.scorer.approximable else gallery.scorer, gallery.rows
        self.blocks: Sequence[Any] = [gallery] if isinstance(gallery, Tensor | np.ndarray) else gallery
        shapes = [tuple(block.shape) for block in self.blocks]
        if any(len(shape) != 2 or shape[1] != shapes[0][1] for shape in shapes):
            raise ValueError(f"a gallery is a matrix (G, D) or blocks of one width, not {shapes[:3]}")
        self.starts = list(accumulate((shape[0] for shape in shapes), initial=0))
        if self.starts[-1] == 0:
            raise ValueError("the gallery is empty")
        self.shape = (self.starts[-1], shapes[0][1])

    def pieces(self, size: int, device: torch.device) -> Iterator[tuple[int, Tensor]]:
        """Yield (first row, rows (n <= size, D) in float32) from the first row to the last."""
        for start, block in zip(self.starts, self.blocks, strict=False):
            for first in range(0, len(block), size):
                yield start + first, _read(block, slice(first, first + size), device)

    def over(self, rows: Tensor) -> GalleryReader:
        """Reads other rows, which compare with queries in the same way."""
        return GalleryReader(rows if self.scorer is None else Scored(rows, self.scorer))

    def scores(self, queries: Tensor, q: Tensor, g: Tensor) -> Tensor:
        """Exact scores (P,) of pairs (query q, gallery row g); only the blocks that hold one are read."""
        out = torch.empty(len(q), device=queries.device)
        chunk = max(1, (1 << 18) // max(1, self.shape[1]))  # the products of a chunk stay in the cache
        for start, stop, block in zip(self.starts, self.starts[1:], self.blocks, strict=False):
            inside = ((g >= start) & (g < stop)).nonzero().squeeze(1)
            for pairs in inside.split(chunk) if len(inside) else ():
                left = queries.index_select(0, q[pairs])
                right = _read(block, g[pairs] - start, queries.device)
                if self.scorer is not None:
                    out[pairs] = self.scorer.pairs(left, right).detach()
                    continue
                products = left * right
                while (width := products.shape[1]) > 1:
                    half = (width + 1) // 2
                    products[:, : width - half] += products[:, half:]
                    products = products[:, :half]
                out[pairs] = products.sum(1)
        return out

    def rows(self, queries: Tensor, targets: Rows | None, exclude: Rows | None) -> tuple[Tensor, Tensor]:
        """Check what is asked; return targets (Q, P) and excluded rows (Q, E), each as `distinct_rows`."""
        if queries.ndim != 2 or queries.shape[1] != self.shape[1]:
            shapes = f"{tuple(queries.shape)} and {self.shape}"
            raise ValueError(f"queries (Q, D) and gallery (G, D) must be matrices of one width, not {shapes}")
        nothing = torch.full((len(queries), 1), -1)
        goal, hidden = (
            distinct_rows(nothing if rows is None else rows, len(queries), name).to(queries.device)
            for name, rows in (("targets", targets), ("exclude", exclude))
        )
        for name, rows in (("targets", goal), ("exclude", hidden)):
            if (outside := ((rows >= self.shape[0]) | (rows < -1)).any(1)).any():
                query = int(outside.nonzero()[0])
                raise ValueError(f"{name} of query {query} lie outside the gallery of {self.shape[0]} rows")
        if targets is not None and (without := (goal < 0).all(1)).any():
            raise ValueError(f"query {int(without.nonzero()[0])} has no target")
        clash = ((goal[:, :, None] == hidden[:, None, :]) & (goal >= 0)[:, :, None]).flatten(1).any(1)
        if clash.any():
            raise ValueError(f"a target is excluded from its own gallery (query {int(clash.nonzero()[0])})")
        return goal, hidden


def distinct_rows(rows: Rows, count: int, name: str) -> Tensor:
    """Bring `Rows` to one ascending (Q, P) int64 tensor: every row once, padded with -1; P is at least 1."""
    if not isinstance(rows, Tensor):
        lists = [torch.as_tensor(row).flatten().long() for row in rows]
        rows = torch.nn.utils.rnn.pad_sequence(lists, True, -1) if lists else torch.empty((0, 1)).long()
    rows = rows[:, None] if rows.ndim == 1 else rows
    if rows.ndim != 2 or len(rows) != count or rows.is_floating_point():
        raise ValueError(
            f"{name} must list gallery rows (integers) of {count} queries, not {tuple(rows.shape)}"
        )
    if rows.shape[1] == 0:
        return torch.full((count, 1), -1, device=rows.device)
    rows = rows.long().sort(dim=1).values
    repeated = torch.nn.functional.pad(rows[:, 1:] == rows[:, :-1], (1, 0), value=False)
    return rows.masked_fill(repeated, -1).sort(dim=1).values


def _read(block: Any, rows: slice | Tensor, device: torch.device) -> Tensor:
    """Rows of a block, (n, D) in float32."""
    if isinstance(block, Tensor):
        picked = block[rows] if isinstance(rows, slice) else block.index_select(0, rows.to(block.device))
        return picked.detach().to(device, torch.float32)
    taken = block[rows.cpu().numpy() if isinstance(rows, Tensor) else rows]
    return torch.from_numpy(np.array(taken, dtype=np.float32)).to(device)
