"""Batches of one domain each."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from clplat.data.lazy import domains_of
from clplat.data.records import Example
from clplat.parts.samplers._base import Embed, Sampler
from clplat.parts.samplers.shuffled import shuffled_batches

__all__ = ["ByDomain"]


class ByDomain(Sampler):
    """Shuffled batches, each within one domain.

    In-batch negatives of another domain are told apart by style alone; keeping a batch within a domain makes
    them as hard as at evaluation. A last row that would stand alone joins the batch before it: it would have
    no negative.

    Example:
        >>> ByDomain().looks
        False
    """

    def batches(
        self, examples: Sequence[Example], size: int, draw: torch.Generator, embed: Embed
    ) -> list[list[int]]:
        batches: list[list[int]] = []
        groups: dict[str, list[int]] = {}
        for row, domain in enumerate(domains_of(examples)):
            groups.setdefault(domain, []).append(row)
        for rows in groups.values():
            batches += shuffled_batches(rows, size, draw)
        return [batches[i] for i in torch.randperm(len(batches), generator=draw).tolist()]
