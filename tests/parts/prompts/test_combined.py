"""Prompts of different towers together."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from clplat.config.resolve import resolve
from clplat.errors import UserError
from clplat.models.backbone import Backbone
from clplat.parts.prompts._base import Prompt, TowerPrompt
from clplat.parts.prompts._combined import CombinedPrompt
from clplat.parts.prompts.context import ContextPrompt
from clplat.parts.prompts.deep import DeepPrompt
from clplat.testing import PromptContract, tiny_backbone


class _Patches(TowerPrompt):
    def __init__(self, vectors: Tensor) -> None:
        super().__init__()
        self.length, self.vectors = len(vectors), nn.Parameter(vectors)

    def forward(self, layer: int, *_: Any) -> Tensor | None:
        return self.vectors if layer == 0 else None


class Shallow(Prompt):
    """VPT-shallow: vectors before the patches.

    Args:
        length: how many.
    """

    def __init__(self, length: int = 2) -> None:
        self.length = length

    def attach(self, backbone: Backbone) -> list[str]:
        if backbone.image_prompt is not None:
            raise UserError("an image prompt is attached already")
        assert backbone.image_width is not None
        vectors = torch.empty(self.length, backbone.image_width).normal_(std=0.02)
        backbone.image_prompt = _Patches(vectors)
        return ["image_prompt.vectors"]


class TestCombined(PromptContract):
    def make(self) -> Prompt:
        return CombinedPrompt([ContextPrompt(2), Shallow(2)])


def test_the_towers_are_prompted_as_by_each_alone() -> None:
    both, text, image = tiny_backbone(), tiny_backbone(), tiny_backbone()
    made = [CombinedPrompt([ContextPrompt(2), Shallow(2)]), ContextPrompt(2), Shallow(2)]
    for prompt, backbone in zip(made, (both, text, image), strict=True):
        torch.manual_seed(0)
        names = prompt.attach(backbone)
        assert set(names) <= dict(backbone.named_parameters()).keys()
    assert both.text_prompt is not None and both.image_prompt is not None
    assert torch.equal(both.get_parameter("text_prompt.vectors"), text.get_parameter("text_prompt.vectors"))
    with torch.no_grad():
        both.get_parameter("image_prompt.vectors").copy_(image.get_parameter("image_prompt.vectors"))
    ids, pixels = both.tokenize(["a red shoe"]), torch.rand(1, 3, both.image_size, both.image_size)
    assert torch.equal(both.text(ids).pooled, text.text(ids).pooled)
    assert torch.equal(both.image(pixels).pooled, image.image(pixels).pooled)


def test_one_tower_takes_one_prompt() -> None:
    with pytest.raises(UserError, match="DeepPrompt cannot be combined with ContextPrompt: both prompt"):
        CombinedPrompt([ContextPrompt(2), DeepPrompt(2)]).attach(tiny_backbone())
    config = resolve({"prompt": "context,deep", "prompt.context.length": 3})
    assert config.make("prompt").parts[0].length == 3
