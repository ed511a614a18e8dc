"""Batches of examples whose targets the model finds alike."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn.functional import normalize

from clplat.data.records import Example
from clplat.parts.samplers._base import Embed, Sampler
from clplat.parts.samplers.shuffled import cut

__all__ = ["Neighbours"]


class Neighbours(Sampler):
    """Hard in-batch negatives: a batch grows from drawn examples by the nearest targets that are left.

    Before every pass all targets are embedded by the model as it is. A batch begins with examples drawn at
    random; each of them brings its ``near - 1`` most similar targets among those that no batch has yet.

    Args:
        near: examples per neighbourhood; 1 draws all of a batch at random.

    References:
        Yuksekgonul et al. 2023 (NegCLIP's strong alternative images, neighbours of each picture), arXiv
        2210.01936.

    Example:
        >>> Neighbours(near=3).looks
        True
    """

    looks = True

    def __init__(self, near: int = 3) -> None:
        if near < 1:
            raise ValueError(f"near must be at least 1, not {near}")
        self.near = near

    def batches(
        self, examples: Sequence[Example], size: int, draw: torch.Generator, embed: Embed
    ) -> list[list[int]]:
        targets = normalize(embed([example.target for example in examples]).float().cpu(), dim=-1)
        left = torch.ones(len(examples), dtype=torch.bool)
        found: list[int] = []
        for row in torch.randperm(len(examples), generator=draw).tolist():
            if not left[row]:
                continue
            scores = (targets @ targets[row]).masked_fill(~left, -2.0)
            scores[row] = 2.0
            # No more than the batch still takes: the next one begins with a draw of its own.
            room = size - len(found) % size
            near = scores.topk(min(self.near, room, int(left.sum()))).indices
            left[near] = False
            found += near.tolist()
        batches = cut(found, size)
        return [batches[i] for i in torch.randperm(len(batches), generator=draw).tolist()]
