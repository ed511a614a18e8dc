"""Which gallery rows are right answers of a query, and which are no candidates: checked, as one tensor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from clplat.evaluation.gallery import GalleryReader

__all__ = ["Rows", "candidate_rows", "distinct_rows"]

#: Gallery rows of each query: (Q,), (Q, P) padded with -1, or one list or LongTensor per query.
Rows: TypeAlias = Tensor | Sequence[int] | Sequence[Sequence[int]] | Sequence[Tensor]


def candidate_rows(
    queries: Tensor, gallery: GalleryReader, targets: Rows | None, exclude: Rows | None
) -> tuple[Tensor, Tensor]:
    """Check all inputs; return targets (Q, P) and excluded rows (Q, E), each as `distinct_rows`."""
    if queries.ndim != 2 or queries.shape[1] != gallery.shape[1]:
        shapes = f"{tuple(queries.shape)} and {gallery.shape}"
        raise ValueError(f"queries (Q, D) and gallery (G, D) must be matrices of one width, not {shapes}")
    if gallery.shape[0] == 0:
        raise ValueError("the gallery is empty")
    nothing = torch.full((len(queries), 1), -1, device=queries.device)
    goal = nothing if targets is None else distinct_rows(targets, len(queries), "targets").to(queries.device)
    hidden = (
        nothing if exclude is None else distinct_rows(exclude, len(queries), "exclude").to(queries.device)
    )
    for name, rows in (("targets", goal), ("exclude", hidden)):
        if (outside := ((rows >= gallery.shape[0]) | (rows < -1)).any(1)).any():
            query = int(outside.nonzero()[0])
            raise ValueError(f"{name} of query {query} lie outside the gallery of {gallery.shape[0]} rows")
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
