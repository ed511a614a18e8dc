"""Prompts for both towers at several layers: MaPLe, and its uncoupled relative."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor, nn

from clplat.config.space import Choice, Int
from clplat.errors import UserError
from clplat.models.backbone import Backbone
from clplat.parts.prompts._base import Prompt, TowerPrompt
from clplat.parts.prompts.context import check_room

__all__ = ["DeepPrompt"]


class DeepPrompt(Prompt):
    """MaPLe: fresh prompt tokens at the first layers of both towers (Khattak et al. 2023, arXiv 2210.03117).

    Attaching changes all embeddings: the prompts are new tokens in both towers. Images get theirs after the
    class token, texts after the SOS. At each of the first ``depth`` layers new vectors replace what the layer
    before made of the old ones.

    Args:
        length: prompt tokens at each layer.
        depth: number of layers with vectors of their own, from the first on; default all. A tower with fewer
            layers has them at all of its layers.
        coupled: image prompts are linear maps of the text prompts; otherwise each tower learns its own.
        std: of the normal distribution from which the vectors start.

    What is trained: ``depth * length * text_width`` numbers and ``depth`` linear maps, or the vectors of both
    towers. Needs: two standard CLIP transformers.
    Relations: `ContextPrompt` prompts the text tower's input only.

    Example:
        >>> from clplat.models.backbone import Backbone
        >>> tower = {"layers": 2, "width": 32}
        >>> backbone = Backbone.random(
        ...     {
        ...         "embed_dim": 16,
        ...         "vision_cfg": {**tower, "image_size": 16, "patch_size": 8, "head_width": 16},
        ...         "text_cfg": {**tower, "context_length": 12, "heads": 2},
        ...     },
        ...     seed=0,
        ... )
        >>> DeepPrompt(depth=1).attach(backbone)
        ['text_prompt.vectors.0', 'image_prompt.maps.0.weight', 'image_prompt.maps.0.bias']
    """

    def __init__(
        self,
        length: Annotated[int, Int(1, 16, log=True)] = 2,
        depth: int | None = None,
        coupled: Annotated[bool, Choice(True, False)] = True,
        std: float = 0.02,
    ) -> None:
        self.length = length
        self.depth = depth
        self.coupled = coupled
        self.std = std

    def attach(self, backbone: Backbone) -> list[str]:
        """Install both prompts; the values are drawn from torch's generator.

        Raises:
            UserError: a tower takes no prompt or has one, no tower is so deep, or there is no room for texts.
        """
        check_room(backbone, self.length)
        if backbone.image_layers is None or backbone.image_width is None or backbone.text_layers is None:
            raise UserError(
                f"the image tower of backbone '{backbone.name}' takes no prompt: it is no CLIP transformer"
            )
        if backbone.image_prompt is not None:
            raise UserError("an image prompt is attached already")
        deepest = max(backbone.text_layers, backbone.image_layers)
        depth = deepest if self.depth is None else self.depth
        if not 1 <= depth <= deepest:
            raise UserError(f"depth is {self.depth}; the towers have {deepest} layers")
        text = _DeepVectors(min(depth, backbone.text_layers), self.length, backbone.text_width, self.std)
        image: TowerPrompt
        if self.coupled:
            image = _Coupled(
                text, min(depth, backbone.image_layers, backbone.text_layers), backbone.image_width
            )
        else:
            image = _DeepVectors(
                min(depth, backbone.image_layers), self.length, backbone.image_width, self.std
            )
        backbone.text_prompt = text.to(backbone.logit_scale)
        backbone.image_prompt = image.to(backbone.logit_scale)
        return [
            name
            for name, _ in backbone.named_parameters()
            if name.startswith(("text_prompt.", "image_prompt."))
        ]


class _DeepVectors(TowerPrompt):
    """Vectors of their own for each of the first layers."""

    def __init__(self, depth: int, length: int, width: int, std: float) -> None:
        super().__init__()
        self.length = length
        self.vectors = nn.ParameterList(torch.empty(length, width).normal_(std=std) for _ in range(depth))

    def forward(self, layer: int) -> Tensor | None:
        return self.vectors[layer] if layer < len(self.vectors) else None


class _Coupled(TowerPrompt):
    """The prompts of another tower, each through a linear map of its own."""

    def __init__(self, source: _DeepVectors, depth: int, width: int) -> None:
        super().__init__()
        self.length = source.length
        # In a tuple, so that the vectors have one name, that of the tower that owns them.
        self.source = (source,)
        self.maps = nn.ModuleList(nn.Linear(source.vectors[0].shape[1], width) for _ in range(depth))

    def forward(self, layer: int) -> Tensor | None:
        if layer >= len(self.maps):
            return None
        mapped: Tensor = self.maps[layer](self.source[0].vectors[layer])
        return mapped
