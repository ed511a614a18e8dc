"""Gallery rows that answer many: the nearest of a bank in one pass, and which queries they answer first."""

from __future__ import annotations

import torch
from torch import Tensor

from clplat.mechanisms.bank_sums import nearest

__all__ = ["BestRows", "best_is_among"]

#: Scores in float32 that are held at once.
_CELLS = 1 << 23


class BestRows:
    """The k best gallery rows of each member of a bank, kept while blocks of scores go by.

    Args:
        count: B, members of the bank.
        k: rows of each.

    Example:
        >>> best = BestRows(2, 1)
        >>> best.add(0, torch.eye(2))
        >>> best.add(2, torch.tensor([[3.0, 0.5]]))
        >>> best.rows.tolist()
        [[2, 1]]
    """

    def __init__(self, count: int, k: int) -> None:
        self.k = k
        self.scores = torch.full((0, count), -torch.inf)
        #: (n, B), n at most k, in no order.
        self.rows = torch.empty((0, count), dtype=torch.long)

    def add(self, start: int, scores: Tensor) -> None:
        """Look at scores (n, B) of gallery rows from ``start`` on; they are left alone."""
        if len(self.rows) < self.k:
            self._join(slice(None), start, scores)
            return
        open_ = (scores.amax(0) > self.scores.amin(0)).nonzero()[:, 0]
        if len(open_):
            self._join(open_, start, scores[:, open_])

    def _join(self, columns: Tensor | slice, start: int, scores: Tensor) -> None:
        few, places = scores.topk(min(self.k, len(scores)), dim=0)
        held = torch.cat([self.scores[:, columns], few]), torch.cat([self.rows[:, columns], places + start])
        best, which = held[0].topk(min(self.k, len(held[0])), dim=0)
        if isinstance(columns, slice):
            self.scores, self.rows = best, held[1].gather(0, which)
        else:
            self.scores[:, columns], self.rows[:, columns] = best, held[1].gather(0, which)


def best_is_among(queries: Tensor, gallery: Tensor, rows: Tensor, exclude: Tensor | None = None) -> Tensor:
    """Whether the best gallery row of each query is one of ``rows``, (Q,) of bool.

    Most queries need a part of the gallery only: as soon as another row is better than all of ``rows``, they
    are answered. What single precision leaves open is for `nearest` to decide.

    Args:
        queries: (Q, D); gallery: (G, D), both float32.
        rows: distinct gallery rows (R,).
        exclude: rows (Q, E) that each may not find, padded with -1.

    Example:
        >>> best_is_among(torch.eye(3)[:2], torch.eye(3), torch.tensor([1, 2]))
        tensor([False,  True])
    """
    among = torch.zeros(len(gallery), dtype=torch.bool)
    among[rows] = True
    if exclude is None:
        exclude = torch.full((len(queries), 1), -1)
    own = queries @ gallery[rows].T
    place = torch.full((len(gallery) + 1,), -1)
    place[rows] = torch.arange(len(rows))
    who, entry = (place[exclude] >= 0).nonzero(as_tuple=True)
    own[who, place[exclude[who, entry]]] = -torch.inf
    best = own.amax(1)
    length = queries.norm(dim=1) * gallery.norm(dim=1).amax()
    slack = 2.0 * (queries.shape[1] + 8) * torch.finfo(torch.float32).eps * length
    rival = torch.full_like(best, -torch.inf)
    open_ = torch.arange(len(queries))
    step = max(1, -(-len(gallery) * len(queries) // _CELLS))
    for part in range(step):
        if not len(open_):
            break
        scores = queries[open_] @ gallery[part::step].T
        scores[:, among[part::step]] = -torch.inf
        _hide(scores, exclude[open_], part, step)
        rival[open_] = rival[open_].maximum(scores.amax(1))
        open_ = open_[rival[open_] <= best[open_] + slack[open_]]
    found = rival < best
    unsure = open_[rival[open_] >= best[open_] - slack[open_]]
    if len(unsure):
        found[unsure] = among[nearest(queries[unsure], gallery, exclude=exclude[unsure])[:, 0]]
    return found


def _hide(scores: Tensor, exclude: Tensor, part: int, step: int) -> None:
    """Excluded rows of a part of the gallery, every ``step``-th row, score -inf."""
    who, entry = ((exclude >= 0) & (exclude % step == part)).nonzero(as_tuple=True)
    scores[who, exclude[who, entry] // step] = -torch.inf
