"""What the pictures of one pass took of a pool of prompts, as tokens or as prefixes of attention."""

from __future__ import annotations

import torch
from torch import Tensor

from clplat.models.prompt import Prefix, TowerPrompt

__all__ = ["Taken"]


class Taken(TowerPrompt):
    """The prompts of one pass over B pictures.

    Args:
        taken: of each picture, one after the other, (B, depth, top * places, W); of prefixes the first half
            of each prompt's places are keys, the others values.
        general: prefixes of all pictures in the lowest layers (layers, places, W), or none.
        tokens: whether ``taken`` goes through the tower as tokens, or into attention alone.
        first: the first layer with prefixes of ``taken``.
        length: places that the tokens take.
        top: prompts of each picture.
    """

    def __init__(
        self, taken: Tensor, general: Tensor | None, tokens: bool, first: int, length: int, top: int
    ) -> None:
        super().__init__()
        self.taken, self.shared, self.tokens = taken, general, tokens
        self.first, self.length, self.top = first, length, top

    def forward(self, layer: int) -> Tensor | None:
        return self.taken[:, layer] if self.tokens and layer < self.taken.shape[1] else None

    def prefix(self, layer: int) -> Prefix | None:
        found: list[tuple[Tensor, Tensor]] = []
        if self.shared is not None and layer < len(self.shared):
            keys, values = self.shared[layer].expand(len(self.taken), -1, -1).chunk(2, dim=1)
            found.append((keys, values))
        own = layer - self.first
        if not self.tokens and 0 <= own < self.taken.shape[1]:
            # Of each prompt the first half are keys.
            count, width = len(self.taken), self.taken.shape[-1]
            keys, values = self.taken[:, own].view(count, self.top, -1, width).chunk(2, dim=2)
            found.append((keys.flatten(1, 2), values.flatten(1, 2)))
        if not found:
            return None
        return torch.cat([k for k, _ in found], dim=1), torch.cat([v for _, v in found], dim=1)
