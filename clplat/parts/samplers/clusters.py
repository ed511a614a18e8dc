"""Batches of one cluster each, of what the model makes of queries and targets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from torch.nn.functional import normalize

from clplat.config.space import Int
from clplat.data.records import Example
from clplat.mechanisms.memory.coresets import k_means
from clplat.parts.samplers._base import Embed, Sampler
from clplat.parts.samplers.shuffled import clustered_batches

__all__ = ["Clusters"]


class Clusters(Sampler):
    """Hard in-batch negatives: the examples of a batch have queries alike and targets alike.

    Before every pass queries and targets are embedded by the model as it is, and k-means is run on either
    side: an example's cluster is the pair of its two. Within a cluster the model must tell apart what it
    finds alike, by features that it has not used so far.

    Args:
        count: clusters of each side, so that its square is the number of clusters.

    Raises:
        ValueError: count below 1.

    References:
        Zhang et al., "Avoiding Feature Suppression in Contrastive Learning", ECCV 2024, arXiv 2402.11816.

    Example:
        >>> Clusters(count=3).looks
        True
    """

    looks = True

    def __init__(self, count: Annotated[int, Int(1, 16, log=True)] = 3) -> None:
        if count < 1:
            raise ValueError(f"count must be at least 1, not {count}")
        self.count = count

    def batches(
        self, examples: Sequence[Example], size: int, draw: torch.Generator, embed: Embed
    ) -> list[list[int]]:
        return clustered_batches(self.labels(examples, draw, embed), size, draw)

    def labels(self, examples: Sequence[Example], draw: torch.Generator, embed: Embed) -> list[int]:
        """The cluster of each example, from 0 to before the square of ``count``."""
        found = torch.zeros(len(examples), dtype=torch.int64)
        for side in ([example.query for example in examples], [example.target for example in examples]):
            rows = normalize(embed(side).float().cpu(), dim=-1)
            found = found * self.count + k_means(rows, min(self.count, len(rows)), draw)[0]
        labels: list[int] = found.tolist()
        return labels
