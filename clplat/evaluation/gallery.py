"""A gallery that is read piece by piece, wherever it lies, and the exact score of a query and a row.

The score of gallery row g for query q is the dot product in float32, its products added by halves in one
fixed order: the same two rows score the same bits in any block and on any number of threads, so equal
pictures tie.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["Embeddings", "GalleryReader"]

#: A gallery (G, D): a matrix, which may be memory-mapped, or a sequence of blocks (n, D), which may load each
#: when it is read.
Embeddings: TypeAlias = Tensor | NDArray[Any] | Sequence[Tensor] | Sequence[NDArray[Any]]


class GalleryReader:
    """Reads a gallery.

    Args:
        gallery: see `Embeddings`.

    Raises:
        ValueError: no block; blocks that are no matrices of one width.
    """

    def __init__(self, gallery: Embeddings) -> None:
        self.blocks: Sequence[Any] = [gallery] if isinstance(gallery, Tensor | np.ndarray) else gallery
        shapes = [tuple(block.shape) for block in self.blocks]
        if not shapes:
            raise ValueError("the gallery is empty")
        if any(len(shape) != 2 or shape[1] != shapes[0][1] for shape in shapes):
            raise ValueError(f"a gallery is a matrix (G, D) or blocks of one width, not {shapes[:3]}")
        self.starts = list(accumulate((shape[0] for shape in shapes), initial=0))
        self.shape = (self.starts[-1], shapes[0][1])

    def pieces(self, size: int, device: torch.device) -> Iterator[tuple[int, Tensor]]:
        """Yield (first row, rows (n <= size, D) in float32) from the first row to the last."""
        for start, block in zip(self.starts, self.blocks, strict=False):
            for first in range(0, len(block), size):
                yield start + first, _read(block, slice(first, first + size), device)

    def scores(self, queries: Tensor, q: Tensor, g: Tensor) -> Tensor:
        """Exact scores (P,) of pairs (query q, gallery row g); only the blocks that hold one are read."""
        out = torch.empty(len(q), device=queries.device)
        chunk = max(1, (1 << 19) // max(1, self.shape[1]))
        for start, stop, block in zip(self.starts, self.starts[1:], self.blocks, strict=False):
            inside = ((g >= start) & (g < stop)).nonzero().squeeze(1)
            for pairs in inside.split(chunk) if len(inside) else ():
                right = _read(block, g[pairs] - start, queries.device)
                out[pairs] = _dot(queries.index_select(0, q[pairs]), right)
        return out


def _read(block: Any, rows: slice | Tensor, device: torch.device) -> Tensor:
    """Rows of a block, (n, D) in float32."""
    if isinstance(block, Tensor):
        picked = block[rows] if isinstance(rows, slice) else block.index_select(0, rows.to(block.device))
        return picked.detach().to(device, torch.float32)
    taken = block[rows.cpu().numpy() if isinstance(rows, Tensor) else rows]
    return torch.from_numpy(np.array(taken, dtype=np.float32)).to(device)


def _dot(left: Tensor, right: Tensor) -> Tensor:
    """Dot products (P,) of the rows of (P, D), added pairwise by halves: one order on every machine."""
    products = left * right
    width = products.shape[1]
    while width > 1:
        half = (width + 1) // 2
        products[:, : width - half] += products[:, half:width]
        width = half
    return products[:, :1].sum(1)
