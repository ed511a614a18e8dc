"""Counts of rivals and the best rows, kept while blocks of scores go by."""

from __future__ import annotations

import torch
from torch import Tensor

from clplat.evaluation.scores import LOWEST, Scores


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
        found, best = (
            self.scores.gallery.over(self.scores.rows).scores(self.scores.queries, q, g),
            self.best[q],
        )
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
