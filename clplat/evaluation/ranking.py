"""Exact ranks from embeddings, with a tie rule, in bounded memory, never fooled by NaN.

What is computed, in six slow lines: rows rank by descending score and, where scores are equal, by ascending
gallery row; ranks count from 0.

    >>> def ranking(query, gallery, excluded=()):
    ...     scores = [sum(a * b for a, b in zip(query, row)) for row in gallery]
    ...     rows = [row for row in range(len(gallery)) if row not in excluded]
    ...     return sorted(rows, key=lambda row: (-scores[row], row))
    >>> def slow_rank(query, gallery, targets, excluded=()):
    ...     return min(ranking(query, gallery, excluded).index(target) for target in targets)

The rest is speed and memory, and makes no difference:

    >>> query, gallery = [2.0, 1.0], [[1.0, 1.0], [0.0, 2.0], [1.0, 1.0], [2.0, 0.0], [0.0, 3.0]]
    >>> ranking(query, gallery, excluded=[3]), slow_rank(query, gallery, targets=[2, 1], excluded=[3])
    ([0, 2, 4, 1], 1)
    >>> top_k(torch.tensor([query]), torch.tensor(gallery), k=4, exclude=[[3]]).tolist()
    [[0, 2, 4, 1]]
    >>> rank_of_targets(torch.tensor([query]), torch.tensor(gallery), [[2, 1]], exclude=[[3]])[0].tolist()
    [1]

Sums of rounded products depend on their order: `clplat.evaluation.gallery` fixes it.
`clplat.evaluation.scores` says how a matrix product decides nearly everything nevertheless.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from clplat.evaluation.candidates import Gathered, candidate_rows, few, inside
from clplat.evaluation.counting import RankCounter, TopK
from clplat.evaluation.gallery import Embeddings, GalleryReader, Rows
from clplat.evaluation.scores import BLOCK, Scores

TieRule: TypeAlias = Literal["index", "against"]


def rank_of_targets(
    queries: Tensor,
    gallery: Embeddings,
    targets: Rows,
    exclude: Rows | None = None,
    block: int = BLOCK,
    tie_rule: TieRule = "index",
    *,
    among: Rows | None = None,
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
        among: the only candidates of each query; by default the whole gallery. Targets that are not among
            them do not count.

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
        >>> rank_of_targets(torch.tensor([[1.0, 0.0]]), gallery, torch.tensor([2]), among=[[0, 2]])
        (tensor([0]), tensor([0]))
    """
    found = rank(queries, gallery, targets, exclude, block=block, among=among)
    return found.ranks(tie_rule), found.ties


def top_k(
    queries: Tensor,
    gallery: Embeddings,
    k: int,
    exclude: Rows | None = None,
    block: int = BLOCK,
    *,
    among: Rows | None = None,
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
    return rank(queries, gallery, None, exclude, k=k, block=block, among=among).top


@dataclass
class Ranking:
    """What `rank` finds: of the best-placed target the rivals above, those as good before it, and all ties.

    ``goal`` (Q, P) holds the targets, padded with -1; ``top`` (Q, k) the best rows, as `top_k`.
    """

    goal: Tensor
    above: Tensor
    before: Tensor
    ties: Tensor
    top: Tensor

    def ranks(self, tie_rule: TieRule = "index") -> Tensor:
        """(Q,) ranks, from 0."""
        return self.above + (self.ties if tie_rule == "against" else self.before)


def rank(
    queries: Tensor,
    gallery: Embeddings,
    targets: Rows | None,
    exclude: Rows | None = None,
    *,
    k: int = 0,
    block: int = BLOCK,
    among: Rows | None = None,
) -> Ranking:
    """Ranks of targets and the k best rows in one pass, of either only what is asked for."""
    own = None
    if among is not None:
        own = candidate_rows(among, len(queries), GalleryReader(gallery).shape[0]).to(queries.device)
        gathered = few(own, GalleryReader(gallery).shape[0])
    scores = Scores(queries, gallery, targets, exclude, block, own)
    goal = scores.goal if own is None or targets is None else inside(scores.goal, own)
    nothing = torch.zeros(len(queries), dtype=torch.long, device=queries.device)
    if own is not None and gathered:
        found = Gathered(queries, gallery, own, exclude)
        counts = found.count(goal) if targets is not None else (nothing,) * 3
        return Ranking(goal, *counts, found.top(k))
    scores.goal = goal
    counter = RankCounter(scores) if targets is not None else None
    best = TopK(scores, k) if k else None
    for _ in scores:
        for one in (counter, best):
            if one is not None:
                one.add()
    counts = (counter.above, counter.before, counter.ties) if counter is not None else (nothing,) * 3
    return Ranking(goal, *counts, best.result() if best is not None else goal[:, :0])
