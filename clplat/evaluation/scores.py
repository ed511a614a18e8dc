"""Scores of all queries and all gallery rows, block by block, near enough to the exact ones to decide by.

A matrix product adds in an order of its own and comes within a known error of the exact scores of
`clplat.evaluation.gallery`. It decides nearly all comparisons; only those that it leaves open are for exact
scores to decide. Where the processor multiplies bfloat16, a product in bfloat16 goes first, and one in
float32 only where that leaves too much open.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from clplat.evaluation.gallery import GalleryReader

__all__ = ["BLOCK", "LOWEST", "ScoreBlock", "score_blocks"]

#: Scores held at once: 32 MiB of float32.
BLOCK = 1 << 23
#: Gallery rows read at once.
PIECE = 1 << 14
LOWEST = torch.finfo(torch.float32).min


class ScoreBlock:
    """Scores of the queries ``part`` and the gallery rows from ``start`` on, by a matrix product.

    Attributes:
        scores: (b, n), as far as `margin` from the exact ones; -inf where the row is excluded.
        rows: (n, D), the gallery's in float32.
    """

    def __init__(
        self,
        queries: Tensor,
        rows: Tensor,
        part: slice,
        start: int,
        hidden: Tensor,
        error: Tensor,
        out: Tensor,
    ) -> None:
        self.queries, self.rows, self.part, self.start = queries[part], rows, part, start
        self._hidden, self._error_in_float32, self._out = self.pairs(hidden), error[part], out

    def multiply(self, rows: Tensor, rounding: Tensor | None = None) -> None:
        """Fill ``scores`` by a product in the precision of ``rows``; ``rounding`` (Q,) is what that costs."""
        left = self.queries.to(rows.dtype)
        self.scores = self._out.view(rows.dtype)[: len(left) * len(rows)].view(len(left), len(rows))
        with torch.autocast(left.device.type, enabled=False):
            torch.mm(left, rows.T, out=self.scores)
        self.scores[self._hidden] = -torch.inf
        error = self._error_in_float32 if rounding is None else self._error_in_float32 + rounding[self.part]
        self._error = error[:, None].float()

    def margin(self, x: Tensor, q: Tensor | slice = slice(None)) -> Tensor:
        """How far from x (b, m) a score must be, for exact scores to lie on the same side."""
        error = self._error[q]
        if self.scores.dtype == torch.float32:
            return error
        # The score and the bound that it is compared with are rounded, each by half of eps at most.
        return error + torch.finfo(self.scores.dtype).eps * (x.abs() + error)

    def refine(self, undecided: int | float) -> bool:
        """Multiply again in float32 if bfloat16 leaves too many pairs undecided; whether it did."""
        if self.scores.dtype == torch.float32 or undecided <= self.scores.numel() // 32:
            return False
        self.multiply(self.rows)
        return True

    def pairs(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Those of the gallery rows (Q, E) that lie in this block, as indices (query, row) of ``scores``."""
        rows = rows[self.part] - self.start
        q, e = ((rows >= 0) & (rows < len(self.rows))).nonzero(as_tuple=True)
        return q, rows[q, e]


def score_blocks(
    queries: Tensor, gallery: GalleryReader, hidden: Tensor, block: int, kept: int = 0
) -> Iterator[ScoreBlock]:
    """Yield all scores block by block, rows ascending; the rows in ``hidden`` (Q, E) score -inf.

    ``kept`` rows of each query will be scored exactly anyway.
    """
    queries = queries.detach().float()
    size = max(1, min(PIECE, gallery.shape[0], block))
    step = max(1, min(1024, block // size))  # more queries at once fill no cache better
    buffer = torch.empty(min(step, len(queries)) * size, device=queries.device)  # fresh pages are slow
    length, error = _lengths(queries), _relative_error(gallery.shape[1])
    dtype = torch.bfloat16 if _bfloat16_pays(queries, gallery.shape[0], kept) else torch.float32
    lost = _lengths(queries - queries.to(dtype).float())
    for start, rows in gallery.pieces(size, queries.device) if len(queries) else ():
        longest = _lengths(rows).amax()
        reach = length * longest  # no score, nor any partial sum, lies beyond
        # NaN > x is False: without this check a collapsed model would rank every target first.
        if not reach.amax() < -LOWEST:
            raise ValueError(
                "non-finite scores: an embedding of the queries or of the gallery is NaN or infinite"
            )
        # bfloat16 takes ``lost`` from a query and, of 8 bits, 2^-8 at most from a gallery row.
        rounding = 1.01 * longest * (lost + 2.0**-8 * (length + lost))
        if not longest + (reach + rounding).amax() < 1e30:
            dtype = torch.float32  # bfloat16 might round to infinity
        rounded = rows.to(dtype)
        for first in range(0, len(queries), step):
            part = slice(first, min(first + step, len(queries)))
            found = ScoreBlock(queries, rows, part, start, hidden, reach * error, buffer)
            found.multiply(rounded, rounding if dtype == torch.bfloat16 else None)
            yield found
            if dtype != found.scores.dtype:  # where bfloat16 did not do it will not
                dtype, rounded = torch.float32, rows


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
    # Adding one by one rounds once per product, adding by halves log2(width) times: 32 is ample. TF32 and
    # bfloat16, where the user allows them, round both inputs.
    return 1.01 * (width + 32) * 2.0**-24 + (0.0 if precise else 2.0**-6)


def _bfloat16_pays(queries: Tensor, size: int, kept: int) -> bool:
    """Does this processor multiply bfloat16, and is the product what takes the time?"""
    if queries.device.type != "cpu" or queries.shape[1] < 128 or len(queries) * size < 1 << 18:
        return False
    able: dict[str, object] = getattr(
        torch.cpu, "get_capabilities", dict
    )()  # older versions of torch cannot answer
    return 64 * kept <= size and bool(able.get("avx512_bf16") or able.get("amx_bf16"))
