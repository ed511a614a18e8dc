"""Prompts of a text that are made of the picture which it modifies, for several layers at once."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn

from clplat.config.space import Int
from clplat.errors import UserError
from clplat.mechanisms.attention import Decoder, cells
from clplat.models.backbone import Backbone
from clplat.models.features import TOKENS, ImageFeatures, TextFeatures
from clplat.models.prompt import TowerPrompt
from clplat.parts.prompts._base import Prompt
from clplat.parts.prompts._taken import Taken
from clplat.parts.prompts.context import check_room

__all__ = ["ConditionedPrompt"]


class ConditionedPrompt(Prompt):
    """TC-CLIP's instance-conditioned text prompts: the text tower reads what a picture's patches say of it.

    At each of the first ``depth`` layers of the text tower the vectors

        p_l = c_l + A(c_l, S),    S = means of the picture's patches over a grid of cells,

    stand before the words; c are trained vectors, A attention from them to the summaries with an MLP behind
    it, zero at first. Patches are those of the image tower as it is, and no gradient goes back to them. A
    text that stands alone has the vectors c. The image tower takes no part in this, so that a gallery vector
    never depends on a query.

    Args:
        length: vectors of each layer.
        depth: layers with vectors of their own, from the first on; a tower with fewer has them at all.
        grid: cells of a side; a picture of fewer patches keeps each. 1: the mean patch.
        width: inside A.
        heads: of its attention, at most.
        std: of the normal distribution from which c start.

    Raises:
        ValueError: a size below 1.

    What is trained: ``depth * length * text width`` numbers, and about ``16 * width^2`` of A.

    Needs: a query's picture; patches of the image tower, which a step computes unless they are kept.

    Relations: `DeepPrompt` has vectors that depend on no picture. `CrossAttention` composes by attention
    behind the towers.

    Reference:
        Kim et al., "Leveraging Temporal Contextualization for Video Action Recognition" (TC-CLIP), ECCV 2024,
        arXiv:2404.09490.

    Example:
        >>> from clplat.testing.tiny import tiny_backbone
        >>> ConditionedPrompt(length=2, depth=1).attach(tiny_backbone())[:2]
        ['text_prompt.vectors', 'text_prompt.reader.asked.0.weight']
    """

    def __init__(
        self,
        length: Annotated[int, Int(1, 8, log=True)] = 4,
        depth: Annotated[int, Int(1, 12)] = 3,
        grid: Annotated[int, Int(1, 7)] = 3,
        width: int = 64,
        heads: int = 4,
        std: float = 0.02,
    ) -> None:
        if min(length, depth, grid, width, heads) < 1:
            raise ValueError(
                "length, depth, grid, width and heads must be at least 1, not "
                f"{length}, {depth}, {grid}, {width} and {heads}"
            )
        self.length, self.depth, self.grid = length, depth, grid
        self.width, self.heads, self.std = width, heads, std

    def attach(self, backbone: Backbone) -> list[str]:
        """Install the vectors and what reads the picture, both drawn from torch's generator.

        Raises:
            UserError: the text tower takes no prompt or has one, or the image tower has no patches.
        """
        check_room(backbone, self.length)
        if backbone.image_width is None or backbone.text_layers is None:
            raise UserError(f"the image tower of backbone '{backbone.name}' has no patches to be read")
        depth = min(self.depth, backbone.text_layers)
        prompt = _Conditioned(self, depth, backbone.text_width, backbone.image_width)
        backbone.text_prompt = prompt.to(backbone.logit_scale)
        return [f"text_prompt.{name}" for name, _ in prompt.named_parameters()]


class _Conditioned(TowerPrompt):
    """The vectors of all layers, which read the summaries of a picture together."""

    reads_other: ClassVar[bool] = True
    other_wants: ClassVar[frozenset[str]] = TOKENS

    def __init__(self, options: ConditionedPrompt, depth: int, text: int, image: int) -> None:
        super().__init__()
        self.length, self.grid = options.length, options.grid
        self.vectors = nn.Parameter(torch.empty(depth, options.length, text).normal_(std=options.std))
        self.reader = Decoder(text, image, width=options.width, heads=options.heads, depth=1)
        # At first the vectors alone: what is drawn is many times as long as they are.
        for parameter in self.reader.out[1].parameters():
            nn.init.zeros_(parameter)

    def begin(
        self,
        own: ImageFeatures | TextFeatures | None,
        other: ImageFeatures | TextFeatures | None = None,
    ) -> TowerPrompt:
        if other is None or other.tokens is None:
            return self
        summaries = cells(other.tokens.detach().to(self.vectors.dtype), self.grid)
        asked = self.vectors.flatten(0, 1).expand(len(summaries), -1, -1)
        made = (asked + self.reader(asked, summaries)).unflatten(1, self.vectors.shape[:2])
        return Taken(made, None, tokens=True, first=0, length=self.length, top=1)

    def forward(self, layer: int) -> Tensor | None:
        return self.vectors[layer] if layer < len(self.vectors) else None
