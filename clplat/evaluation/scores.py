"""Exact scores of queries against a gallery that is read piece by piece, wherever it lies.

The score of gallery row g for query q is the dot product in float32, its products added by halves in one
fixed order: the same two rows score the same bits in any block and on any number of threads, so equal
pictures tie. A matrix product adds in an order of its own and comes within a known ``slack`` of these scores.
It is the sieve: only the few pairs that it leaves undecided are scored as above.
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

__all__ = ["BLOCK", "Bank", "Embeddings", "Found", "Rows", "candidate_rows", "distinct_rows", "score_blocks"]

#: Gallery rows of each query: (Q,), (Q, P) padded with -1, or one list or LongTensor a query.
Rows: TypeAlias = Tensor | Sequence[int] | Sequence[Sequence[int]] | Sequence[Tensor]

#: A gallery (G, D): a matrix, which may be memory-mapped, or a sequence of blocks (n, D), which may load each
#: when asked for it.
Embeddings: TypeAlias = Tensor | NDArray[Any] | Sequence[Tensor] | Sequence[NDArray[Any]]

#: Scores held at once: 32 MiB of float32.
BLOCK = 1 << 23
#: Gallery rows read at once.
PIECE = 1 << 14
LOWEST = torch.finfo(torch.float32).min


class Bank:
    """A gallery that is read a piece at a time, wherever it lies.

    Args:
        gallery: see `Embeddings`.
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
        for i, (start, stop) in enumerate(zip(self.starts, self.starts[1:], strict=False)):
            inside = ((g >= start) & (g < stop)).nonzero().squeeze(1)
            if len(inside) == 0:
                continue
            block = self.blocks[i]
            for pairs in inside.split(chunk):
                out[pairs] = _dot(queries[q[pairs]], _read(block, g[pairs] - start, queries.device))
        return out


@dataclass
class Found:
    """Scores (b, n) of some queries and the gallery rows from ``start`` on, right within ``slack`` (b, 1)."""

    part: slice
    start: int
    piece: Tensor
    scores: Tensor
    slack: Tensor


def score_blocks(queries: Tensor, bank: Bank, hidden: Tensor, block: int) -> Iterator[Found]:
    """Yield all scores block by block, rows ascending; the rows in ``hidden`` (Q, E) score -inf."""
    queries = queries.detach().float()
    size = max(1, min(PIECE, bank.shape[0], block))
    step = max(1, block // size)
    buffer = torch.empty(min(step, len(queries)) * size, device=queries.device)  # fresh pages are slow
    length, error = _lengths(queries), _relative_error(bank.shape[1])
    for start, piece in bank.pieces(size, queries.device) if len(queries) else ():
        reach = length * _lengths(piece).amax()  # no score, nor any partial sum, lies beyond
        # NaN > x is False: without this check a collapsed model would rank every target first.
        if not reach.amax() < -LOWEST:
            raise ValueError(
                "non-finite scores: an embedding of the queries or of the gallery is NaN or infinite"
            )
        for first in range(0, len(queries), step):
            part = slice(first, min(first + step, len(queries)))
            scores = buffer[: (part.stop - first) * len(piece)].view(-1, len(piece))
            with torch.autocast(queries.device.type, enabled=False):
                torch.mm(queries[part], piece.T, out=scores)
            rows = hidden[part] - start
            q, e = ((rows >= 0) & (rows < len(piece))).nonzero(as_tuple=True)
            scores[q, rows[q, e]] = -torch.inf
            yield Found(part, start, piece, scores, (reach[part, None] * error).float())


def candidate_rows(
    queries: Tensor, bank: Bank, targets: Rows | None, exclude: Rows | None
) -> tuple[Tensor, Tensor]:
    """Check all inputs; return targets (Q, P) and excluded rows (Q, E), each as `distinct_rows`."""
    if queries.ndim != 2 or queries.shape[1] != bank.shape[1]:
        shapes = f"{tuple(queries.shape)} and {bank.shape}"
        raise ValueError(f"queries (Q, D) and gallery (G, D) must be matrices of one width, not {shapes}")
    if bank.shape[0] == 0:
        raise ValueError("the gallery is empty")
    nothing = torch.full((len(queries), 1), -1, device=queries.device)
    goal = nothing if targets is None else distinct_rows(targets, len(queries), "targets").to(queries.device)
    hidden = (
        nothing if exclude is None else distinct_rows(exclude, len(queries), "exclude").to(queries.device)
    )
    for name, rows in (("targets", goal), ("exclude", hidden)):
        if (outside := ((rows >= bank.shape[0]) | (rows < -1)).any(1)).any():
            query = int(outside.nonzero()[0])
            raise ValueError(f"{name} of query {query} lie outside the gallery of {bank.shape[0]} rows")
    if targets is not None and (goal < 0).all(1).any():
        raise ValueError(f"query {int((goal < 0).all(1).nonzero()[0])} has no target")
    clash = ((goal[:, :, None] == hidden[:, None, :]) & (goal >= 0)[:, :, None]).flatten(1).any(1)
    if clash.any():
        raise ValueError(f"a target is excluded from its own gallery (query {int(clash.nonzero()[0])})")
    return goal, hidden


def distinct_rows(rows: Rows, count: int, name: str) -> Tensor:
    """Bring `Rows` to one ascending (Q, P) int64 tensor: every row once, padded with -1."""
    if not isinstance(rows, Tensor):
        lists = [(row if isinstance(row, Tensor) else torch.tensor(row)).flatten().long() for row in rows]
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
        return block[rows].detach().to(device, torch.float32)
    picked = block[rows.cpu().numpy() if isinstance(rows, Tensor) else rows]
    return torch.from_numpy(np.array(picked, dtype=np.float32)).to(device)


def _dot(left: Tensor, right: Tensor) -> Tensor:
    """Dot products (P,) of the rows of (P, D), added pairwise by halves: one order on every machine."""
    products = left * right
    width = products.shape[1]
    while width > 1:
        half = (width + 1) // 2
        products[:, : width - half] += products[:, half:width]
        width = half
    return products[:, :1].sum(1)


def _lengths(rows: Tensor) -> Tensor:
    """Upper bounds (N,) float64 of the lengths of rows; squares of the least numbers would vanish."""
    lengths: Tensor = torch.linalg.vector_norm(rows, dim=1)
    if not torch.isfinite(lengths).all():
        lengths = torch.linalg.vector_norm(rows, dim=1, dtype=torch.float64)  # squares overflow sooner
    return lengths.double().clamp(min=2.0**-48)


def _relative_error(width: int) -> float:
    """How far two ways to add ``width`` products may lie apart, relative to the lengths of both rows."""
    try:
        precise = torch.get_float32_matmul_precision() == "highest"
    except RuntimeError:  # the old and the new settings are mixed: any may hold
        precise = False
    # Adding one by one rounds once a product, adding by halves log2(width) times: 32 is ample. TF32 and
    # bfloat16, where the user allows them, round both inputs.
    return 1.01 * (width + 32) * 2.0**-24 + (0.0 if precise else 2.0**-6)
