"""Exact ranks from embeddings, with a tie rule, in bounded memory, never fooled by NaN.

Rows rank by descending score (see `clplat.evaluation.scores`) and, where scores are equal, by ascending
gallery row, which is a stable descending sort. Ranks count from 0.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from clplat.evaluation.scores import (
    BLOCK,
    LOWEST,
    Bank,
    Embeddings,
    Found,
    Rows,
    candidate_rows,
    score_blocks,
)

__all__ = ["Embeddings", "Rows", "rank_of_targets", "top_k"]


def rank_of_targets(
    queries: Tensor,
    gallery: Embeddings,
    targets: Rows,
    exclude: Rows | None = None,
    block: int = BLOCK,
    tie_rule: Literal["index", "against"] = "index",
) -> tuple[Tensor, Tensor]:
    """Rank the best-placed target of every query, counting from 0.

    ``rank(q) = #{g : s[q,g] > s[q,t]} + #{g < t : s[q,g] = s[q,t]}`` with t the target of the highest score.

    Args:
        queries: (Q, D) embeddings, unit rows for cosine scores.
        gallery: (G, D) embeddings, in memory or not (see `Embeddings`).
        targets: rows of the right answers, at least one a query (see `Rows`).
        exclude: rows that are no candidates for a query, e.g. its own reference.
        block: scores held at once.
        tie_rule: ``"index"`` breaks ties by gallery row; ``"against"`` counts every tie with a row that is no
            target as lost, for templates that put the target first (GeneCIS, arXiv:2306.07969).

    Returns:
        ranks (Q,) and ties (Q,) int64; ties counts the candidates that are no targets and score exactly as
        the best-placed target does.

    Raises:
        ValueError: empty gallery, scores that are not finite, a query without target, a row out of range, a
            target that is excluded.

    Example:
        >>> gallery = torch.tensor([[0.6, 0.8], [1.0, 0.0], [1.0, 0.0]])
        >>> rank_of_targets(torch.tensor([[1.0, 0.0]]), gallery, targets=torch.tensor([2]))
        (tensor([1]), tensor([1]))
    """
    bank = Bank(gallery)
    goal, hidden = candidate_rows(queries, bank, targets, exclude)
    ranks = Ranks(queries, bank, goal)
    for found in score_blocks(queries, bank, hidden, block):
        ranks.add(found)
    return ranks.result(tie_rule)


def top_k(
    queries: Tensor, gallery: Embeddings, k: int, exclude: Rows | None = None, block: int = BLOCK
) -> Tensor:
    """The k best gallery rows of every query, best first, ordered as in `rank_of_targets`.

    Returns:
        (Q, k) int64; -1 where fewer than k rows are candidates.

    Raises:
        ValueError: k < 1, empty gallery, scores that are not finite, a row out of range.

    Example:
        >>> top_k(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.6, 0.8], [1.0, 0.0], [1.0, 0.0]]), k=2)
        tensor([[1, 2]])
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, not {k}")
    bank = Bank(gallery)
    _, hidden = candidate_rows(queries, bank, None, exclude)
    best = Best(queries, bank, k)
    for found in score_blocks(queries, bank, hidden, block):
        best.add(found)
    return best.result()


class Ranks:
    """Counts what scores above, and exactly as, the best-placed target of each query.

    Args:
        queries: (Q, D).
        bank: the gallery.
        goal: (Q, P) targets, padded with -1.
    """

    def __init__(self, queries: Tensor, bank: Bank, goal: Tensor) -> None:
        self.queries = queries.detach().float()
        own = torch.full(goal.shape, -torch.inf, device=goal.device)
        q, p = (goal >= 0).nonzero(as_tuple=True)
        own[q, p] = bank.scores(self.queries, q, goal[q, p])
        self.best = own.amax(1)
        self.first = goal.masked_fill(own < self.best[:, None], bank.shape[0]).amin(1)
        self.above = torch.zeros_like(self.first)
        self.before = torch.zeros_like(self.first)
        self.ties = -(own == self.best[:, None]).sum(1)

    def add(self, found: Found) -> None:
        """Count one block."""
        low, high = (self.best[found.part, None] + sign * found.slack for sign in (-1, 1))
        self.above[found.part] += (found.scores > high).sum(1)
        q, g = ((found.scores >= low) & (found.scores <= high)).nonzero(as_tuple=True)
        q += found.part.start
        scores, best = Bank(found.piece).scores(self.queries, q, g), self.best[q]
        equal = scores == best
        for count, counted in (
            (self.above, scores > best),
            (self.ties, equal),
            (self.before, equal & (g + found.start < self.first[q])),
        ):
            count += torch.bincount(q[counted], minlength=len(count))

    def result(self, tie_rule: str = "index") -> tuple[Tensor, Tensor]:
        """Ranks and ties (Q,), as `rank_of_targets` returns them."""
        return self.above + (self.ties if tie_rule == "against" else self.before), self.ties


class Best:
    """Keeps the rows that may be among the k best of each query.

    Args:
        queries: (Q, D).
        bank: the gallery.
        k: rows wanted.
    """

    def __init__(self, queries: Tensor, bank: Bank, k: int) -> None:
        self.queries, self.bank, self.k = queries.detach().float(), bank, k
        # The k highest lower bounds known of distinct rows: the k-th best row scores no less than the last.
        self.floor = torch.full((len(queries), min(k, bank.shape[0])), LOWEST, device=queries.device)
        self.slack = torch.zeros(len(queries), device=queries.device)
        nothing = torch.empty(0, dtype=torch.long, device=queries.device)
        self.pool = [(nothing, nothing, self.slack[:0])]
        self.pooled = 0

    def add(self, found: Found) -> None:
        """Keep the candidates of one block."""
        part, slack, size = found.part, found.slack, found.scores.shape[1]
        # The k-th best maximum of groups of columns is no better than the k-th best score, and soon found.
        group = min(64, max(1, size // (4 * self.k)))
        columns = found.scores[:, : size // group * group]
        bounds = columns.view(len(columns), group, -1).amax(1) - slack
        bounds = torch.cat([self.floor[part], bounds], 1)
        floor = bounds.topk(self.floor.shape[1], sorted=False).values
        self.floor[part], self.slack[part] = floor, torch.maximum(self.slack[part], slack[:, 0])
        cut = (floor.amin(1, keepdim=True) - slack).clamp(min=LOWEST)
        q, g = (found.scores >= cut).nonzero(as_tuple=True)
        self.pool.append((q + part.start, g + found.start, found.scores[q, g]))
        self.pooled += len(q)
        if self.pooled > max(1 << 20, 4 * self.floor.numel()):
            self._sort()

    def result(self) -> Tensor:
        """(Q, k) rows, best first, -1 where there are no more candidates."""
        q, g, _ = self._sort()
        out = q.new_full((len(self.queries), self.k), -1)
        out[q, _places(q, len(out))] = g
        return out

    def _sort(self) -> tuple[Tensor, Tensor, Tensor]:
        """Cut the pool to the k best pairs a query, in order. Among equal scores its rows always ascend."""
        q, g, scores = (torch.cat(column) for column in zip(*self.pool, strict=True))
        good = scores >= (self.floor.amin(1) - self.slack)[q]
        q, g, scores = q[good], g[good], scores[good]
        order = _by_query_and_score(q, scores)
        drop = scores[order[:-1]] - scores[order[1:]]
        close = (drop <= 2 * self.slack[q[order[1:]]]) & (q[order[1:]] == q[order[:-1]])
        pad = torch.nn.functional.pad
        unsure = order[pad(close, (0, 1), value=False) | pad(close, (1, 0), value=False)] if len(q) else order
        if len(unsure):
            scores[unsure] = self.bank.scores(self.queries, q[unsure], g[unsure])
            order = _by_query_and_score(q, scores)
        order = order[_places(q[order], len(self.queries)) < self.k]
        self.pool, self.pooled = [(q[order], g[order], scores[order])], len(order)
        return self.pool[0]


def _by_query_and_score(q: Tensor, scores: Tensor) -> Tensor:
    """A stable order by ascending query, then by descending score, in one sort of whole numbers."""
    bits = (scores + 0.0).view(torch.int32).long()  # -0.0 becomes 0.0
    rising = torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits)
    return ((q << 32) - rising).argsort(stable=True)


def _places(q: Tensor, count: int) -> Tensor:
    """The place of each element among those of its query, from 0; ``q`` ascends."""
    counts = torch.bincount(q, minlength=count)
    return torch.arange(len(q), device=q.device) - (counts.cumsum(0) - counts)[q]
