"""Exact ranks from embeddings, with a tie rule, in bounded memory, never fooled by NaN.

What is computed, in six slow lines: rows rank by descending score and, where scores are equal, by ascending
gallery row; ranks count from 0.

    >>> def ranking(query, gallery, excluded=()):
    ...     scores = [sum(a * b for a, b in zip(query, row)) for row in gallery]
    ...     rows = [row for row in range(len(gallery)) if row not in excluded]
    ...     return sorted(rows, key=lambda row: (-scores[row], row))
    >>> def rank(query, gallery, targets, excluded=()):
    ...     return min(ranking(query, gallery, excluded).index(target) for target in targets)

The rest is speed and memory, and makes no difference:

    >>> query, gallery = [2.0, 1.0], [[1.0, 1.0], [0.0, 2.0], [1.0, 1.0], [2.0, 0.0], [0.0, 3.0]]
    >>> ranking(query, gallery, excluded=[3]), rank(query, gallery, targets=[2, 1], excluded=[3])
    ([0, 2, 4, 1], 1)
    >>> top_k(torch.tensor([query]), torch.tensor(gallery), k=4, exclude=[[3]]).tolist()
    [[0, 2, 4, 1]]
    >>> rank_of_targets(torch.tensor([query]), torch.tensor(gallery), [[2, 1]], exclude=[[3]])[0].tolist()
    [1]

Sums of rounded products depend on their order: `clplat.evaluation.gallery` fixes it.
`clplat.evaluation.scores` says how a matrix product decides nearly everything nevertheless.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from clplat.evaluation.gallery import Embeddings, GalleryReader, Rows
from clplat.evaluation.scores import BLOCK, LOWEST, Scores


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
        targets: rows of the right answers, at least one per query (see `Rows`).
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
    scores = Scores(queries, gallery, targets, exclude, block)
    ranks = RankCounter(scores)
    for _ in scores:
        ranks.add()
    return ranks.above + (ranks.ties if tie_rule == "against" else ranks.before), ranks.ties


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
    scores = Scores(queries, gallery, None, exclude, block)
    best = TopK(scores, k)
    for _ in scores:
        best.add()
    return best.result()


class RankCounter:
    """Counts what scores above, and exactly as, the best-placed target of each query."""

    def __init__(self, scores: Scores) -> None:
        self.scores, goal = scores, scores.goal
        own = torch.full(goal.shape, -torch.inf, device=goal.device)
        q, p = (goal >= 0).nonzero(as_tuple=True)
        own[q, p] = scores.gallery.scores(scores.queries, q, goal[q, p])
        self.best = own.amax(1)
        self.first = goal.masked_fill(own < self.best[:, None], scores.gallery.shape[0]).amin(1)
        self.above, self.before, self.ties = (torch.zeros_like(self.first) for _ in range(3))

    def add(self) -> None:
        """Count the block of scores."""
        block, part, best = self.scores.block, self.scores.part, self.best[self.scores.part, None]
        low, high = ((best + sign * self.scores.margin(best)).to(block.dtype) for sign in (-1, 1))
        # Comparisons are several times as fast into the dtype of the scores as into bool.
        above = torch.gt(block, high, out=torch.empty_like(block))
        undecided = torch.ge(block, low, out=torch.empty_like(block)).sub_(above)
        undecided[self.scores.pairs(self.scores.goal)] = 0
        rows = undecided.sum(1)
        if self.scores.refine(rows.sum().item()):
            return self.add()
        for columns in torch.split(above, 256, dim=1):  # as far as bfloat16 counts
            self.above[part] += columns.sum(1).long()
        open_rows = rows.nonzero().squeeze(1)
        q, g = undecided[open_rows].nonzero(as_tuple=True)
        q = open_rows[q] + part.start
        found, best = GalleryReader(self.scores.rows).scores(self.scores.queries, q, g), self.best[q]
        equal = found == best
        before = equal & (g + self.scores.start < self.first[q])
        for count, counted in ((self.above, found > best), (self.ties, equal), (self.before, before)):
            count += torch.bincount(q[counted], minlength=len(count))


class TopK:
    """Keeps the rows that may be among the k best of each query.

    With k = 2, scores that are right within 0.1 and blocks of four rows, one query sees

        block 1    .9 .2 .5 .4    the second best is .4 (.5 - .1) or more: keep what may be, .9 .5 .4
        block 2    .3 .8 .6 .1    the two highest lower bounds are .8 and .7 by now: keep .8 .6
        the end    .9 .8 .6       may be .7; each is within .2 of its neighbour, so exact scores decide

    Here the two best maxima of groups of columns stand for the two best scores: these are found sooner, and
    are no better.
    """

    def __init__(self, scores: Scores, k: int) -> None:
        self.scores, self.k, size, device = scores, k, len(scores.queries), scores.queries.device
        scores.kept = k
        # The k highest lower bounds known of distinct rows: the k-th best row scores no less than the last.
        self.floor = torch.full((size, min(k, scores.gallery.shape[0])), LOWEST, device=device)
        # The query of each candidate, its row and an upper bound, at most `width` of the query too high.
        nothing = torch.empty(0, dtype=torch.long, device=device)
        self.pool = [(nothing, nothing, self.floor[:0, 0])]
        self.width = torch.zeros(size, device=device)

    def add(self) -> None:
        """Keep the candidates of the block of scores."""
        block, part = self.scores.block, self.scores.part
        group = min(64, max(1, block.shape[1] // (4 * self.k)))
        columns = block[:, : block.shape[1] // group * group]
        maxima = columns.view(len(columns), group, -1).amax(1).float()
        bounds = torch.cat([self.floor[part], maxima - self.scores.margin(maxima)], 1)
        floor = bounds.topk(self.floor.shape[1], sorted=False).values
        lowest = floor.amin(1, keepdim=True)
        lowest = (lowest - self.scores.margin(lowest)).to(block.dtype)
        q, g = (block >= lowest.clamp(min=torch.finfo(block.dtype).min)).nonzero(as_tuple=True)
        if self.scores.refine(len(q)):
            return self.add()
        self.floor[part] = floor
        found = block[q, g].float()
        margin = self.scores.margin(found[:, None], q).squeeze(1)
        q = q + part.start
        self.width.scatter_reduce_(0, q, 2 * margin, "amax")
        self.pool.append((q, g + self.scores.start, found + margin))
        if sum(len(q) for q, _, _ in self.pool) > max(1 << 20, 4 * self.floor.numel()):
            self._trim()

    def result(self) -> Tensor:
        """(Q, k) rows, best first, -1 where there are no more candidates."""
        self._trim()
        [(q, g, _)] = self.pool
        out = q.new_full((len(self.width), self.k), -1)
        out[q, _places(q, len(out))] = g
        return out

    def _trim(self) -> None:
        """Cut the pool to the k best pairs per query, in order. Among equal scores its rows always ascend."""
        q, g, scores = (torch.cat(column) for column in zip(*self.pool, strict=True))
        good = scores >= self.floor.amin(1)[q]
        q, g, scores = q[good], g[good], scores[good]
        order = _by_query_and_score(q, scores)
        close = scores[order[:-1]] - scores[order[1:]] <= self.width[q[order[1:]]]
        close &= q[order[1:]] == q[order[:-1]]
        unsure = torch.unique(torch.cat([order[:-1][close], order[1:][close]]))
        if len(unsure):
            scores[unsure] = self.scores.gallery.scores(self.scores.queries, q[unsure], g[unsure])
            order = _by_query_and_score(q, scores)
        order = order[_places(q[order], len(self.width)) < self.k]
        self.pool = [(q[order], g[order], scores[order])]


def _by_query_and_score(q: Tensor, scores: Tensor) -> Tensor:
    """A stable order by ascending query, then by descending score, in one sort of whole numbers."""
    bits = (scores + 0.0).view(torch.int32).long()  # -0.0 becomes 0.0
    rising = torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits)
    return ((q << 32) - rising).argsort(stable=True)


def _places(q: Tensor, count: int) -> Tensor:
    """The place of each element among those of its query, from 0; ``q`` ascends."""
    counts = torch.bincount(q, minlength=count)
    return torch.arange(len(q), device=q.device) - (counts.cumsum(0) - counts)[q]
