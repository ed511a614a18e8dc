"""Retrieval metrics from embeddings: R@K, mAP@K and MRR, for any number of right answers per query."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from clplat.evaluation.gallery import Embeddings, Rows, distinct_rows
from clplat.evaluation.ranking import TieRule, rank
from clplat.evaluation.scores import BLOCK


def average_precision_at_k(top: Tensor, targets: Rows, k: int) -> Tensor:
    """AP@K of every query: ``sum_{i<=k} P@i * rel_i / min(|GT|, k)``, P@i = hits among the first i / i.

    The denominator is CIRCO's min(|GT|, k), not |GT|: a query is perfect when all of its first k are right.

    Args:
        top: (Q, >= k) rows from `top_k`, best first.
        targets: all right answers of each query; a row that is named twice counts once.
        k: the cut-off.

    Returns:
        (Q,) float64 in [0, 1].

    Raises:
        ValueError: ``top`` has fewer than k columns.

    Reference:
        Baldrati et al., "Zero-Shot Composed Image Retrieval with Textual Inversion", ICCV 2023,
        arXiv:2303.15247 (CIRCO).

    Example:
        >>> average_precision_at_k(torch.tensor([[4, 0, 7, 2]]), [[4, 7, 9]], k=4)
        tensor([0.5556], dtype=torch.float64)
    """
    if top.shape[1] < k:
        raise ValueError(f"AP@{k} needs the {k} best rows of each query, not {top.shape[1]}")
    top = top[:, :k].contiguous()
    goal = distinct_rows(targets, len(top), "targets").to(top.device)
    place = torch.searchsorted(goal, top).clamp(max=goal.shape[1] - 1)
    hit = ((goal.gather(1, place) == top) & (top >= 0)).double()
    precision = hit.cumsum(1) / torch.arange(1, k + 1, device=top.device)
    return (precision * hit).sum(1) / (goal >= 0).sum(1).clamp(1, k)


def per_query_metrics(
    queries: Tensor,
    gallery: Embeddings,
    targets: Rows,
    exclude: Rows | None = None,
    ks: Sequence[int] = (1, 5, 10),
    block: int = BLOCK,
    *,
    among: Rows | None = None,
    tie_rule: TieRule = "index",
    listed: int = 0,
) -> dict[str, Tensor]:
    """Every metric of every query in one pass; means over any subset (a tag, a bootstrap sample) follow.

    Args:
        ks: cut-offs; the others as in `rank_of_targets`.
        listed: how many of the best rows to give as well.

    Returns:
        ``rank`` and ``ties`` (Q,) int64; ``R@K`` and ``mAP@K`` for all ks, and ``MRR``: (Q,) float64, 0 to 1;
        ``top`` (Q, listed), as `top_k`, where rows are listed.

    Raises:
        ValueError: as `rank_of_targets`; a cut-off below 1.

    Example:
        >>> per_query_metrics(torch.eye(2), torch.eye(2), targets=[0, 0], ks=(1,))["R@1"]
        tensor([1., 0.], dtype=torch.float64)
    """
    if not ks or min(ks) < 1:
        raise ValueError(f"the cut-offs ks must be at least 1, not {list(ks)}")
    several = distinct_rows(targets, len(queries), "targets").shape[1] > 1
    # Where every query has one right answer its rank says all; several need the order of the first places.
    ordered = several and tie_rule == "index"
    k = max(listed, max(ks) if ordered else 0)
    found = rank(queries, gallery, targets, exclude, k=k, block=block, among=among)
    ranks = found.ranks(tie_rule)
    out = {"rank": ranks, "ties": found.ties} | of_ranks(ranks, ks)
    if ordered:
        out |= {f"mAP@{k}": average_precision_at_k(found.top, found.goal, k) for k in ks}
    elif several:
        places = places_against(queries, gallery, found.goal, exclude, block, among)
        out |= {f"mAP@{k}": precision_of_places(places, k) for k in ks}
    return out | {"top": found.top[:, :listed]} if listed else out


def of_ranks(ranks: Tensor, ks: Sequence[int]) -> dict[str, Tensor]:
    """The metrics (Q,) of queries with one right answer each, from its rank."""
    reciprocal = 1.0 / (ranks + 1).double()
    out = {f"R@{k}": (ranks < k).double() for k in ks}
    return out | {f"mAP@{k}": reciprocal * (ranks < k) for k in ks} | {"MRR": reciprocal}


def places_against(
    queries: Tensor, gallery: Embeddings, goal: Tensor, exclude: Rows | None, block: int, among: Rows | None
) -> Tensor:
    """The places (Q, P) of all targets, from 0, ascending, where every tie with a wrong answer is lost.

    A place that a query has no target for is beyond any cut-off. One pass for each of the P targets, the
    others out of its way.
    """
    nobody = torch.iinfo(torch.int64).max // 2
    hidden = (
        distinct_rows(exclude, len(goal), "exclude").to(goal.device) if exclude is not None else goal[:, :0]
    )
    own = distinct_rows(among, len(goal), "candidates").to(goal.device) if among is not None else None
    rivals = torch.full_like(goal, nobody)
    for column in range(goal.shape[1]):
        there = (goal[:, column] >= 0).nonzero().squeeze(1)
        if len(there):
            others = torch.cat([goal[:, :column], goal[:, column + 1 :], hidden], 1)[there]
            mine = None if own is None else own[there]
            found = rank(queries[there], gallery, goal[there, column], others, block=block, among=mine)
            rivals[there, column] = found.ranks("against")
    rivals = rivals.sort(1).values
    return torch.where(rivals < nobody, rivals + torch.arange(goal.shape[1], device=goal.device), nobody)


def precision_of_places(places: Tensor, k: int) -> Tensor:
    """AP@K (Q,) of the places (Q, P) of the targets, ascending, as `average_precision_at_k`."""
    hits = torch.arange(1, places.shape[1] + 1, device=places.device)
    precision = (hits / (places + 1).double()) * (places < k)
    targets = (places < torch.iinfo(torch.int64).max // 2).sum(1)
    return precision.sum(1) / targets.clamp(1, k)


def retrieval_metrics(
    queries: Tensor,
    gallery: Embeddings,
    targets: Rows,
    exclude: Rows | None = None,
    ks: Sequence[int] = (1, 5, 10),
    block: int = BLOCK,
    *,
    among: Rows | None = None,
    tie_rule: TieRule = "index",
) -> dict[str, float]:
    """R@K and mAP@K for all ks, and MRR, in percent: the means of `per_query_metrics`.

    Raises:
        ValueError: as `per_query_metrics`, and where there is no query.

    Example:
        >>> retrieval_metrics(torch.eye(2), torch.eye(2), targets=[0, 0], ks=(1,))
        {'R@1': 50.0, 'mAP@1': 50.0, 'MRR': 75.0}
    """
    if len(queries) == 0:
        raise ValueError("there are no queries: their mean is undefined")
    values = per_query_metrics(queries, gallery, targets, exclude, ks, block, among=among, tie_rule=tie_rule)
    return {
        name: 100.0 * value.mean().item() for name, value in values.items() if name not in ("rank", "ties")
    }
