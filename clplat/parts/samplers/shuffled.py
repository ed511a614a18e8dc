"""Batches of whatever comes, all domains together."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from clplat.data.records import Example
from clplat.parts.samplers._base import Embed, Sampler

__all__ = ["Shuffled", "clustered_batches", "cut", "shuffled_batches"]


class Shuffled(Sampler):
    """Shuffled batches, each of examples of all domains of the experience.

    The negatives of a query are then also what other domains hold, as where all domains share a gallery;
    within a batch fewer of them are hard. An experience of one domain has the batches of `ByDomain`.

    Example:
        >>> draw = torch.Generator().manual_seed(0)
        >>> [len(rows) for rows in Shuffled().batches(range(9), 4, draw, None)]
        [4, 5]
    """

    def batches(
        self, examples: Sequence[Example], size: int, draw: torch.Generator, embed: Embed
    ) -> list[list[int]]:
        return shuffled_batches(range(len(examples)), size, draw)


def shuffled_batches(rows: Sequence[int], size: int, draw: torch.Generator) -> list[list[int]]:
    """Rows in random order, ``size`` in each batch, fewer in the last; none stands alone unless it must."""
    return cut([rows[i] for i in torch.randperm(len(rows), generator=draw).tolist()], size)


def cut(rows: Sequence[int], size: int) -> list[list[int]]:
    """Batches of rows in their order; a last row that would stand alone joins the batch before it."""
    batches = [list(rows[i : i + size]) for i in range(0, len(rows), size)]
    if len(batches) > 1 and len(batches[-1]) == 1:
        alone = batches.pop()
        batches[-1] += alone
    return batches


def clustered_batches(clusters: Sequence[int], size: int, draw: torch.Generator) -> list[list[int]]:
    """Batches of rows of one cluster each, in random order.

    What is left of the clusters shares batches with what is left of the next ones by number, so that no
    example is missing and none stands alone, however small the clusters are.

    Example:
        >>> clusters = [0, 1, 0, 1, 0, 1, 1, 2]
        >>> draw = torch.Generator().manual_seed(0)
        >>> sorted(sorted(clusters[i] for i in batch) for batch in clustered_batches(clusters, 2, draw))
        [[0, 0], [0, 2], [1, 1], [1, 1]]
    """
    rows: dict[int, list[int]] = {}
    for row in torch.randperm(len(clusters), generator=draw).tolist():
        rows.setdefault(clusters[row], []).append(row)
    batches: list[list[int]] = []
    left: list[int] = []
    for cluster in sorted(rows):
        own = rows[cluster]
        full = len(own) - len(own) % size
        batches += [own[i : i + size] for i in range(0, full, size)]
        left += own[full:]
    batches += cut(left, size)
    if len(batches) > 1 and len(batches[-1]) == 1:
        alone = batches.pop()
        batches[-1] += alone
    return [batches[i] for i in torch.randperm(len(batches), generator=draw).tolist()]
