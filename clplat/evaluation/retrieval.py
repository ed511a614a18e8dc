"""Retrieval metrics from embeddings: R@K, mAP@K and MRR, for any number of right answers per query."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from clplat.data.records import Gallery, Query
from clplat.evaluation.gallery import Embeddings, Rows, distinct_rows
from clplat.evaluation.ranking import RankCounter, TopK
from clplat.evaluation.scores import BLOCK, Scores


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
) -> dict[str, Tensor]:
    """Every metric of every query in one pass; means over any subset (a tag, a bootstrap sample) follow.

    Args:
        ks: cut-offs; the others as in `rank_of_targets`.

    Returns:
        ``rank`` and ``ties`` (Q,) int64; ``R@K`` and ``mAP@K`` for all ks, and ``MRR``: (Q,) float64, 0 to 1.

    Raises:
        ValueError: as `rank_of_targets`; a cut-off below 1.

    Example:
        >>> per_query_metrics(torch.eye(2), torch.eye(2), targets=[0, 0], ks=(1,))["R@1"]
        tensor([1., 0.], dtype=torch.float64)
    """
    if not ks or min(ks) < 1:
        raise ValueError(f"the cut-offs ks must be at least 1, not {list(ks)}")
    scores = Scores(queries, gallery, targets, exclude, block)
    ranks = RankCounter(scores)
    # Where every query has one right answer its rank says all; several need the order of the first places.
    best = TopK(scores, max(ks)) if scores.goal.shape[1] > 1 else None
    for _ in scores:
        ranks.add()
        if best is not None:
            best.add()
    rank = ranks.above + ranks.before
    reciprocal = 1.0 / (rank + 1).double()
    out = {"rank": rank, "ties": ranks.ties} | {f"R@{k}": (rank < k).double() for k in ks}
    if best is None:
        out |= {f"mAP@{k}": reciprocal * (rank < k) for k in ks}
    else:
        top = best.result()
        out |= {f"mAP@{k}": average_precision_at_k(top, scores.goal, k) for k in ks}
    return out | {"MRR": reciprocal}


def retrieval_metrics(
    queries: Tensor,
    gallery: Embeddings,
    targets: Rows,
    exclude: Rows | None = None,
    ks: Sequence[int] = (1, 5, 10),
    block: int = BLOCK,
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
    values = per_query_metrics(queries, gallery, targets, exclude, ks, block)
    return {
        name: 100.0 * value.mean().item() for name, value in values.items() if name not in ("rank", "ties")
    }


def target_rows(
    queries: Sequence[Query], gallery: Gallery, exclude_reference: bool
) -> tuple[list[list[int]], list[list[int]] | None]:
    """Turn the picture keys of queries into gallery rows.

    Returns:
        targets and exclude as the functions of this module take them; a reference that is not in the gallery
        needs no exclusion.

    Raises:
        ValueError: the gallery holds a key twice, or lacks a query's target; the query is named.
    """
    row = {item.key: i for i, item in enumerate(gallery.items)}
    if len(row) < len(gallery.items):
        raise ValueError(f"gallery '{gallery.name}' holds a picture key twice")
    for query in queries:
        if missing := [key for key in query.targets if key not in row]:
            raise ValueError(
                f"target '{missing[0]}' of query '{query.id}' is not in gallery '{gallery.name}'"
            )
    targets = [[row[key] for key in query.targets] for query in queries]
    if not exclude_reference:
        return targets, None
    return targets, [[row[query.reference.key]] if query.reference.key in row else [] for query in queries]
