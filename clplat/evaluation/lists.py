"""The best rows of every query as kept lists: submissions, rerankers and grids read them, not embeddings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from typing_extensions import TypedDict

from clplat.documents.checked import checked
from clplat.errors import UserError
from clplat.evaluation.gallery import Embeddings, GalleryReader, Rows, distinct_rows
from clplat.evaluation.ranking import top_k
from clplat.evaluation.retrieval import average_precision_at_k, of_ranks
from clplat.trees import load_tree, save_tree

__all__ = ["LISTED", "Lists", "best_of", "load_lists", "metrics_of_lists", "save_lists"]

#: Rows kept of each query; what the servers of CIRR and CIRCO take.
LISTED = 50


@dataclass(frozen=True)
class Lists:
    """The K best gallery rows (Q, K) of each query, best first, -1 where there are no more, and scores."""

    rows: Tensor
    scores: Tensor
    #: The same among the query's own candidates, where queries have some.
    own: Lists | None = None


def best_of(
    queries: Tensor,
    gallery: Embeddings,
    exclude: Rows | None = None,
    *,
    k: int = LISTED,
    among: Rows | None = None,
    top: Tensor | None = None,
) -> Lists:
    """The k best rows of every query, or all where there are fewer, with exact scores.

    Args:
        queries: (Q, D); for this and the others see `rank_of_targets`.
        top: the rows, where they were ranked before.

    Raises:
        ValueError: as `top_k`.

    Example:
        >>> best_of(torch.eye(2), torch.tensor([[1.0, 0.0], [0.6, 0.8]])).scores
        tensor([[1.0000, 0.6000],
                [0.8000, 0.0000]])
    """
    reader = GalleryReader(gallery)
    rows = top if top is not None else top_k(queries, gallery, min(k, reader.shape[0]), exclude, among=among)
    q, place = (rows >= 0).nonzero(as_tuple=True)
    scores = torch.full(rows.shape, -torch.inf, device=rows.device)
    scores[q, place] = reader.scores(queries.detach().float(), q, rows[q, place])
    return Lists(rows, scores)


def save_lists(path: Path, lists: Mapping[str, Mapping[str, Lists]]) -> None:
    """Write the lists of one model version, set -> domain -> lists, as one safetensors file, atomically."""
    save_tree(path, {what: {name: _plain(one) for name, one in held.items()} for what, held in lists.items()})


def load_lists(path: Path) -> dict[str, dict[str, Lists]]:
    """Read what `save_lists` wrote.

    Raises:
        UserError: the file is damaged, or is not there: runs of release 0.1.0 kept no lists.
    """
    if not path.exists():
        raise UserError(f"there is no {path}: no such version, or one of release 0.1.0, which kept no lists")
    tree = checked(load_tree(path), dict[str, dict[str, _Held]], path, "file of lists")
    return {what: {name: _lists(one) for name, one in held.items()} for what, held in tree.items()}


class _Held(TypedDict):
    """A list as it lies on disk."""

    __pydantic_config__ = {"arbitrary_types_allowed": True}  # type: ignore[misc]  # noqa: RUF012

    rows: Tensor
    scores: Tensor
    own: _Held | None


def _plain(lists: Lists) -> dict[str, Any]:
    own = _plain(lists.own) if lists.own is not None else None
    return {"rows": lists.rows.to(torch.int32), "scores": lists.scores.float(), "own": own}


def _lists(held: Mapping[str, Any]) -> Lists:
    own = _lists(held["own"]) if held["own"] is not None else None
    return Lists(held["rows"].long(), held["scores"], own)


def metrics_of_lists(
    top: Tensor, targets: Rows, ranks_beyond: Tensor, ks: Sequence[int] = (1, 5, 10)
) -> dict[str, Tensor]:
    """The metrics of every query from its list, as a reranker left it.

    On lists that nobody changed they equal `per_query_metrics` to the bit.

    Args:
        top: (Q, K) rows, best first, -1 where there are no more.
        targets: all right answers of each query.
        ranks_beyond: (Q,) rank of the best-placed target in the whole gallery, which holds where no target is
            in the list: what is beyond the list keeps its place.
        ks: cut-offs; at most K for mAP of queries with several targets.

    Returns:
        ``rank`` (Q,) int64; ``R@K`` and ``mAP@K`` for all ks, and ``MRR``: (Q,) float64, 0 to 1.

    Raises:
        ValueError: a cut-off beyond the list where the order beyond it would count; a list without any target
            whose rank is said to be inside.

    Example:
        >>> metrics_of_lists(torch.tensor([[3, 1], [0, 2]]), [1, 5], torch.tensor([1, 7]), ks=(2,))["R@2"]
        tensor([1., 0.], dtype=torch.float64)
    """
    goal = distinct_rows(targets, len(top), "targets").to(top.device)
    hit = (top[:, :, None] == goal[:, None, :]).any(2) & (top >= 0)
    listed = hit.any(1)
    if ((~listed) & (ranks_beyond < (top >= 0).sum(1))).any():
        query = int(((~listed) & (ranks_beyond < (top >= 0).sum(1))).nonzero()[0])
        raise ValueError(f"query {query} has no target in its list, but a rank inside it")
    rank = torch.where(listed, hit.int().argmax(1), ranks_beyond.to(top.device))
    out = {"rank": rank} | of_ranks(rank, ks)
    if goal.shape[1] > 1:
        out |= {f"mAP@{k}": average_precision_at_k(top, goal, k) for k in ks}
    return out
