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

from clplat.evaluation.gallery import Embeddings, GalleryReader, Rows

#: Scores held at once: 32 MiB of float32.
BLOCK = 1 << 23
#: Gallery rows read at once.
PIECE = 1 << 14
LOWEST = torch.finfo(torch.float32).min
_NOT_FINITE = "non-finite scores: an embedding of the queries or of the gallery is NaN or infinite"


class Scores:
    """Iteration sets ``block``: scores (b, n) of the queries ``part`` and of gallery rows from ``start`` on.

    Excluded rows score -inf; the others are as far as `margin` from their exact scores.

    Args:
        size: scores held at once; the others as in `rank_of_targets`.
        among: the candidates of each query (Q, C), padded with -1; all other rows score -inf.

    Attributes:
        rows: (n, D), the gallery rows in float32.
        goal: (Q, P) targets, ascending, padded with -1.
        kept: rows of each query that will be scored exactly anyway.
    """

    def __init__(
        self,
        queries: Tensor,
        gallery: Embeddings,
        targets: Rows | None,
        exclude: Rows | None,
        size: int,
        among: Tensor | None = None,
    ) -> None:
        self.gallery = GalleryReader(gallery)
        if among is not None and among.numel() and int(among.min()) < 0:
            # Where a query has fewer candidates than another, a row beyond the gallery stands for the rest.
            among = among.masked_fill(among < 0, self.gallery.shape[0])
        self._among = among
        self.goal, self._hidden = self.gallery.rows(queries, targets, exclude)
        self.queries, self._size, self.kept = queries.detach().float(), size, 0

    def __iter__(self) -> Iterator[None]:
        queries, device, count = self.queries, self.queries.device, self.gallery.shape[0]
        width = max(1, min(PIECE, count, self._size))
        if self.gallery.scorer is not None:  # rows of several vectors are wide
            width = max(1, min(width, (1 << 26) // self.gallery.shape[1]))
        height = max(1, min(1024, self._size // width))  # more queries at once fill no cache better
        self._out = torch.empty(min(height, len(queries)) * width, device=device)  # fresh pages are slow
        self.dtype = torch.bfloat16 if _bfloat16_pays(queries, count, self.kept) else torch.float32
        length, error = _lengths(queries), _relative_error(self.gallery.shape[1])
        lost = _lengths(queries - queries.to(self.dtype).float())
        for start, rows in self.gallery.pieces(width, device) if len(queries) else ():
            self.start, self.rows = start, rows
            if self.gallery.scorer is not None:
                yield from self._by_scorer(height)
                continue
            longest = _lengths(rows).amax()
            reach = length * longest  # no score, nor any partial sum, lies beyond
            # NaN > x is False: without this check a collapsed model would rank every target first.
            if not reach.amax() < -LOWEST:
                raise ValueError(_NOT_FINITE)
            # bfloat16 takes ``lost`` from a query and, of 8 bits, 2^-8 at most from a gallery row.
            rounding = 1.01 * longest * (lost + 2.0**-8 * (length + lost))
            if not longest + (reach + rounding).amax() < 1e30:
                self.dtype = torch.float32  # bfloat16 might round to infinity
            self._errors = {torch.float32: reach * error, torch.bfloat16: reach * error + rounding}
            self._rounded = rows.to(self.dtype)
            for first in range(0, len(queries), height):
                self.part = slice(first, min(first + height, len(queries)))
                self._multiply()
                yield

    def _by_scorer(self, height: int) -> Iterator[None]:
        """Blocks of another scorer, which says how far they may lie from its exact scores."""
        assert self.gallery.scorer is not None
        self.dtype = torch.float32
        for first in range(0, len(self.queries), height):
            self.part = slice(first, min(first + height, len(self.queries)))
            with torch.no_grad():
                self.block = self.gallery.scorer.block(self.queries[self.part], self.rows).float()
            if not torch.isfinite(self.block).all():
                raise ValueError(_NOT_FINITE)
            self._hide()
            self._error = torch.full_like(self.block[:, :1], self.gallery.scorer.slack)
            yield

    def _multiply(self) -> None:
        left = self.queries[self.part].to(self.dtype)
        shape = len(left), len(self.rows)
        self.block = self._out.view(self.dtype)[: shape[0] * shape[1]].view(shape)
        with torch.autocast(left.device.type, enabled=False):
            torch.mm(left, self._rounded.T, out=self.block)
        self._hide()
        self._error = self._errors[self.dtype][self.part, None].float()

    def _hide(self) -> None:
        """Score what is no candidate -inf."""
        shape = self.block.shape
        self.block[self.pairs(self._hidden)] = -torch.inf
        if self._among is not None:
            rows = self._among[self.part]
            if shape[1] < self.gallery.shape[0]:
                rows = rows - self.start
                rows = rows.masked_fill((rows < 0) | (rows > shape[1]), shape[1])
            other = torch.ones((shape[0], shape[1] + 1), dtype=torch.bool, device=rows.device)
            self.block.masked_fill_(other.scatter_(1, rows, False)[:, :-1], -torch.inf)

    def refine(self, undecided: float) -> bool:
        """Multiply again in float32 if bfloat16 leaves too many pairs undecided; whether it did."""
        if self.dtype == torch.float32 or undecided <= self.block.numel() // 32:
            return False
        self.dtype, self._rounded = torch.float32, self.rows  # where bfloat16 did not do it will not
        self._multiply()
        return True

    def margin(self, x: Tensor, q: Tensor | slice = slice(None)) -> Tensor:
        """How far from x (b, m) a score must be, for exact scores to lie on the same side."""
        error = self._error[q]
        if self.dtype == torch.float32:
            return error
        # The score and the bound that it is compared with are rounded, each by half of eps at most.
        return error + torch.finfo(self.dtype).eps * (x.abs() + error)

    def pairs(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Those of the gallery rows (Q, E) that lie in this block, as indices (query, row) of ``block``."""
        rows = rows[self.part] - self.start
        q, e = ((rows >= 0) & (rows < len(self.rows))).nonzero(as_tuple=True)
        return q, rows[q, e]


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
    able: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()  # older torch does not tell
    return 64 * kept <= size and bool(able.get("avx512_bf16") or able.get("amx_bf16"))
