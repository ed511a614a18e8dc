"""Exact ranks from embeddings, with a tie rule, in bounded memory, never fooled by NaN.

The score of gallery row g for query q is the dot product in float32. Rows rank by descending score and, where
scores are equal, by ascending gallery row, which is a stable descending sort. Ranks count from 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, TypeAlias

import torch
from torch import Tensor

__all__ = ["Rows", "rank_of_targets", "top_k"]

#: Gallery rows of each query: (Q,), (Q, P) padded with -1, or one list or LongTensor a query.
Rows: TypeAlias = Tensor | Sequence[int] | Sequence[Sequence[int]] | Sequence[Tensor]

#: Scores held at once: 128 MiB of float32. One query's scores are 1/D of the gallery, so memory is bounded.
BLOCK = 1 << 25


def rank_of_targets(
    queries: Tensor,
    gallery: Tensor,
    targets: Rows,
    exclude: Rows | None = None,
    block: int = BLOCK,
    tie_rule: Literal["index", "against"] = "index",
) -> tuple[Tensor, Tensor]:
    """Rank the best-placed target of every query, counting from 0.

    ``rank(q) = #{g : s[q,g] > s[q,t]} + #{g < t : s[q,g] = s[q,t]}`` with t the target of the highest score.

    Args:
        queries: (Q, D) embeddings, unit rows for cosine scores.
        gallery: (G, D) embeddings.
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
    goal, hidden = candidate_rows(queries, gallery, targets, exclude)
    ranks, ties = [goal.new_empty(0)], [goal.new_empty(0)]
    for part, scores in score_blocks(queries, gallery, hidden, block):
        rank, tie = ranks_in(scores, goal[part], tie_rule)
        ranks.append(rank)
        ties.append(tie)
    return torch.cat(ranks), torch.cat(ties)


def top_k(
    queries: Tensor, gallery: Tensor, k: int, exclude: Rows | None = None, block: int = BLOCK
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
    _, hidden = candidate_rows(queries, gallery, None, exclude)
    best = [best_in(scores, k) for _, scores in score_blocks(queries, gallery, hidden, block)]
    return torch.cat([hidden.new_empty((0, k)), *best])


def score_blocks(
    queries: Tensor, gallery: Tensor, hidden: Tensor, block: int
) -> Iterator[tuple[slice, Tensor]]:
    """Yield (which queries, their scores (b, G)); the rows in ``hidden`` (Q, E) score -inf."""
    bank = gallery.detach().float()
    copies, originals = _duplicates(bank)
    step = max(1, block // len(bank))
    for start in range(0, len(queries), step):
        part = slice(start, min(start + step, len(queries)))
        with torch.autocast(queries.device.type, enabled=False):
            scores = queries[part].detach().float() @ bank.T
        # NaN > x is False: without this check a collapsed model would rank every target first.
        low, high = scores.aminmax()
        if not torch.isfinite(low) or not torch.isfinite(high):
            raise ValueError(
                "non-finite scores: an embedding of the queries or of the gallery is NaN or infinite"
            )
        # BLAS may sum equal columns in different orders (it does for one query): equal pictures must tie.
        scores[:, copies] = scores[:, originals]
        rows, columns = (hidden[part] >= 0).nonzero(as_tuple=True)
        scores[rows, hidden[part][rows, columns]] = -torch.inf
        yield part, scores


def ranks_in(scores: Tensor, goal: Tensor, tie_rule: str = "index") -> tuple[Tensor, Tensor]:
    """Ranks and ties (b,) from scores (b, G) and the distinct targets (b, P), padded with -1."""
    own = scores.gather(1, goal.clamp(min=0)).masked_fill(goal < 0, -torch.inf)
    best = own.amax(1, keepdim=True)
    first = goal.masked_fill(own < best, scores.shape[1]).amin(1, keepdim=True)
    above = (scores > best).sum(1)
    equal = scores == best
    ties = equal.sum(1) - (own == best).sum(1)
    if tie_rule == "against":
        return above + ties, ties
    before = equal[:, : int(first.max())]
    return above + (before & (torch.arange(before.shape[1], device=scores.device) < first)).sum(1), ties


def best_in(scores: Tensor, k: int) -> Tensor:
    """The first k columns of a stable descending sort of every row, -1 where the score is -inf."""
    size = min(k, scores.shape[1])
    values, index = scores.topk(size, dim=1)
    # topk breaks ties as it likes: order what it found by row, then by score. Where equal scores straddle the
    # cut it may have taken the wrong rows, and only a full sort, forty times as slow, is right.
    index, order = index.sort(dim=1)
    values, order = values.gather(1, order).sort(dim=1, descending=True, stable=True)
    index = index.gather(1, order)
    unsure = ((scores >= values[:, -1:]).sum(1) > size).nonzero().squeeze(1)
    if len(unsure):
        full = scores[unsure].sort(dim=1, descending=True, stable=True)
        values[unsure], index[unsure] = full.values[:, :size], full.indices[:, :size]
    return torch.nn.functional.pad(index.masked_fill(values == -torch.inf, -1), (0, k - size), value=-1)


def candidate_rows(
    queries: Tensor, gallery: Tensor, targets: Rows | None, exclude: Rows | None
) -> tuple[Tensor, Tensor]:
    """Check all inputs; return targets (Q, P) and excluded rows (Q, E), each as `distinct_rows`."""
    if queries.ndim != 2 or gallery.ndim != 2 or queries.shape[1] != gallery.shape[1]:
        shapes = f"{tuple(queries.shape)} and {tuple(gallery.shape)}"
        raise ValueError(f"queries (Q, D) and gallery (G, D) must be matrices of one width, not {shapes}")
    if len(gallery) == 0:
        raise ValueError("the gallery is empty")
    nothing = torch.full((len(queries), 1), -1, device=queries.device)
    goal = nothing if targets is None else distinct_rows(targets, len(queries), "targets").to(queries.device)
    hidden = (
        nothing if exclude is None else distinct_rows(exclude, len(queries), "exclude").to(queries.device)
    )
    for name, rows in (("targets", goal), ("exclude", hidden)):
        if (outside := ((rows >= len(gallery)) | (rows < -1)).any(1)).any():
            query = int(outside.nonzero()[0])
            raise ValueError(f"{name} of query {query} lie outside the gallery of {len(gallery)} rows")
    if targets is not None and (goal < 0).all(1).any():
        raise ValueError(f"query {int((goal < 0).all(1).nonzero()[0])} has no target")
    clash = ((goal[:, :, None] == hidden[:, None, :]) & (goal >= 0)[:, :, None]).flatten(1).any(1)
    if clash.any():
        raise ValueError(f"a target is excluded from its own gallery (query {int(clash.nonzero()[0])})")
    return goal, hidden


def distinct_rows(rows: Rows, count: int, name: str) -> Tensor:
    """Bring `Rows` to one ascending (Q, P) int64 tensor: every row once, padded with -1."""
    if not isinstance(rows, Tensor):
        lists = [(row if isinstance(row, Tensor) else torch.tensor(row)).flatten().long() for row in rows]
        rows = torch.nn.utils.rnn.pad_sequence(lists, True, -1) if lists else torch.empty((0, 1)).long()
    rows = rows[:, None] if rows.ndim == 1 else rows
    if rows.ndim != 2 or len(rows) != count or rows.is_floating_point():
        raise ValueError(
            f"{name} must list gallery rows (integers) of {count} queries, not {tuple(rows.shape)}"
        )
    if rows.shape[1] == 0:
        return torch.full((count, 1), -1, device=rows.device)
    rows = rows.long().sort(dim=1).values
    repeated = torch.nn.functional.pad(rows[:, 1:] == rows[:, :-1], (1, 0), value=False)
    return rows.masked_fill(repeated, -1).sort(dim=1).values


def _duplicates(bank: Tensor) -> tuple[Tensor, Tensor]:
    """Rows that repeat an earlier row bit by bit, and the first row that each of them repeats."""
    fixed = torch.Generator().manual_seed(0)
    weight = torch.randint(-(2**62), 2**62, (bank.shape[1],), generator=fixed).to(bank.device) * 2 + 1
    # Hash every row to 64 bits in pieces; integer sums wrap around, so no order of summation matters.
    pieces = torch.split(bank.contiguous().view(torch.int32), 4096)
    hashes = torch.cat([(piece.long() * weight).sum(1) for piece in pieces])
    _, group = torch.unique(hashes, return_inverse=True)
    rows = torch.arange(len(bank), device=bank.device)
    first = torch.full_like(rows, len(bank)).scatter_reduce_(0, group, rows, "amin")[group]
    copies = (first < rows).nonzero().squeeze(1)
    copies = copies[(bank[copies] == bank[first[copies]]).all(1)]
    return copies, first[copies]
