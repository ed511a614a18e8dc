"""Which examples make a batch, and where their pictures are decoded."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from clplat.data.batch import Batch
from clplat.data.records import Example

__all__ = ["domain_batches", "loaded"]


def domain_batches(domains: Sequence[str], size: int, order: torch.Generator) -> list[list[int]]:
    """Shuffled batches of row numbers, each within one domain.

    In-batch negatives of another domain are told apart by style alone; keeping a batch within a domain makes
    them as hard as at evaluation. A last row that would stand alone joins the batch before it: it would have
    no negative.
    """
    batches: list[list[int]] = []
    groups: dict[str, list[int]] = {}
    for row, domain in enumerate(domains):
        groups.setdefault(domain, []).append(row)
    for rows in groups.values():
        shuffled = [rows[i] for i in torch.randperm(len(rows), generator=order).tolist()]
        cut = [shuffled[i : i + size] for i in range(0, len(shuffled), size)]
        if len(cut) > 1 and len(cut[-1]) == 1:
            alone = cut.pop()
            cut[-1] += alone
        batches += cut
    return [batches[i] for i in torch.randperm(len(batches), generator=order).tolist()]


def loaded(collate: Callable[[Sequence[Example]], Batch], examples: Sequence[Example]) -> Batch:
    """Collate, and decode the pixels now: in the loader's process, where there is one."""
    return collate(examples).loaded()
