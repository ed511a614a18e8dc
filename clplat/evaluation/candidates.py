"""Ranks among candidates of each query's own, such as the six pictures of a group of CIRR.

Few candidates are gathered: the exact score of each is computed, and nothing else. Many are cut out of the
product with the whole gallery, as soon as that is the less work. Both give the same ranks.
"""

from __future__ import annotations

import torch
from torch import Tensor

from clplat.evaluation.gallery import Embeddings, GalleryReader, Rows, distinct_rows

#: An exact score takes about as long as so many scores of a matrix product.
EXACT = 96


def candidate_rows(rows: Rows, count: int, size: int) -> Tensor:
    """Candidates (Q, C) of ``count`` queries in a gallery of ``size`` rows, padded with -1.

    Raises:
        ValueError: rows of another number of queries, or outside the gallery; a query without candidates.
    """
    if not isinstance(rows, Tensor):
        rows = distinct_rows(rows, count, "candidates")
    rows = rows[:, None] if rows.ndim == 1 else rows
    if rows.ndim != 2 or len(rows) != count or rows.is_floating_point():
        shape = tuple(rows.shape)
        raise ValueError(f"candidates must list gallery rows (integers) of {count} queries, not {shape}")
    rows = rows.long()
    if rows.numel() and int(rows.min()) >= 0 and int(rows.max()) < size:
        return rows
    outside, without = ((rows >= size) | (rows < -1)).any(1), (rows < 0).all(1)
    for bad, what in ((outside, f"lie outside the gallery of {size} rows"), (without, "are none")):
        if bad.any():
            raise ValueError(f"the candidates of query {int(bad.nonzero()[0])} {what}")
    return rows


def few(among: Tensor, size: int) -> bool:
    """Whether gathering these candidates is less work than ranking the whole gallery."""
    enough = len(among) * size // EXACT
    if among.numel() <= enough or int(among.min()) >= 0:
        return among.numel() <= enough
    return int(torch.count_nonzero(among >= 0)) <= enough


def inside(rows: Tensor, among: Tensor) -> Tensor:
    """The rows (Q, P) that are among the candidates (Q, C), all others replaced by -1.

    Raises:
        ValueError: a query without any.
    """
    kept = torch.stack([(column[:, None] == among).any(1) for column in rows.T], dim=1)
    goal = rows.masked_fill(~kept, -1)
    if (lost := (goal < 0).all(1)).any():
        raise ValueError(f"query {int(lost.nonzero()[0])} has no target among its own candidates")
    return goal


class Gathered:
    """The exact scores of each query and its candidates.

    Args:
        queries: (Q, D).
        gallery: as `rank_of_targets` takes it.
        among: (Q, C), padded with -1.
        exclude: rows that are no candidates all the same.

    Raises:
        ValueError: a score that is not finite; what `GalleryReader.rows` refuses.
    """

    def __init__(self, queries: Tensor, gallery: Embeddings, among: Tensor, exclude: Rows | None) -> None:
        reader = GalleryReader(gallery)
        _, hidden = reader.rows(queries, None, exclude)
        self.rows = distinct_rows(among.to(queries.device), len(queries), "candidates")
        for column in hidden.T:  # a reference, seldom more
            self.rows = self.rows.masked_fill(self.rows == column[:, None], -1)
        self.scores = torch.full(self.rows.shape, -torch.inf, device=queries.device)
        q, place = (self.rows >= 0).nonzero(as_tuple=True)
        found = reader.scores(queries.detach().float(), q, self.rows[q, place])
        if not torch.isfinite(found).all():
            raise ValueError(
                "non-finite scores: an embedding of the queries or of the gallery is NaN or infinite"
            )
        self.scores[q, place] = found

    def count(self, goal: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Rivals (Q,) that score above the best-placed target, as it before its row, and as it in all."""
        right = torch.zeros_like(self.rows, dtype=torch.bool)
        for column in goal.T:
            right |= (self.rows == column[:, None]) & (self.rows >= 0)
        best = self.scores.masked_fill(~right, -torch.inf).amax(1, keepdim=True)
        equal = (self.scores == best) & (self.rows >= 0)
        first = (equal & right).int().argmax(1, keepdim=True)
        place = torch.arange(self.rows.shape[1], device=first.device)
        above, rivals = (self.scores > best) & (self.rows >= 0), equal & ~right
        return above.sum(1), (rivals & (place < first)).sum(1), rivals.sum(1)

    def top(self, k: int) -> Tensor:
        """(Q, k) rows, best first, -1 where there are no more."""
        order = self.scores.argsort(dim=1, descending=True, stable=True)[:, :k]
        rows = self.rows.gather(1, order)
        return torch.nn.functional.pad(rows, (0, k - rows.shape[1]), value=-1)
