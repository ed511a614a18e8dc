"""How a tower takes prompt vectors, whatever learns them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from clplat.errors import UserError
from clplat.models.backbone import Backbone
from clplat.models.features import POOLED
from clplat.parts.prompts._base import TowerPrompt

ALL = POOLED | {"tokens", "hidden"}


class Fixed(TowerPrompt):
    """Given vectors at given layers."""

    def __init__(self, vectors: dict[int, Tensor]) -> None:
        super().__init__()
        self.length = len(vectors[0])
        self.vectors = nn.ParameterDict({str(layer): value for layer, value in vectors.items()})

    def forward(self, layer: int) -> Tensor | None:
        return self.vectors.get(str(layer))


def test_a_text_prompt_reads_like_words_before_the_caption(backbone: Backbone) -> None:
    expected = backbone.text(backbone.tokenize(["a photo of dog", "a photo of a red shoe"])).pooled
    words = backbone.embed_text(backbone.tokenize(["a photo of"]))[0, 1:4]
    backbone.text_prompt = Fixed({0: words})
    features = backbone.text(backbone.tokenize(["dog", "a red shoe"]), ALL)
    torch.testing.assert_close(features.pooled, expected, atol=2e-6, rtol=1e-4)
    assert features.ends.tolist() == [2, 4], "tokens and ends are those of the caption"
    assert features.tokens.shape == (2, 5, 32) and [h.shape for h in features.hidden] == [(2, 5, 32)] * 2


def test_long_texts_lose_words_but_never_their_end(backbone: Backbone) -> None:
    # Ten places: SOS, 3 prompts, 5 words, EOT.
    words = backbone.embed_text(backbone.tokenize(["a photo of"]))[0, 1:4]
    expected = backbone.text(backbone.tokenize(["a photo of one two three four five"])).pooled
    backbone.text_prompt = Fixed({0: words})
    texts = ["one two three four five six seven", "dog"]
    features = backbone.text(backbone.tokenize(texts), POOLED | {"tokens"})
    torch.testing.assert_close(features.pooled[:1], expected, atol=2e-6, rtol=1e-4)
    assert features.ends.tolist() == [6, 2]
    assert backbone.truncated(texts) == [0] and backbone.truncated(["one two three four five"]) == []


def test_an_image_prompt_is_extra_tokens_replaced_layer_by_layer(backbone: Backbone, pixels: Tensor) -> None:
    generator = torch.Generator().manual_seed(1)
    first, second = (torch.randn(2, 48, generator=generator) for _ in range(2))
    visual = backbone.model.visual
    x = visual._embeds(pixels)
    blocks = visual.transformer.resblocks
    x = torch.cat([x[:, :1], first.expand(3, -1, -1), x[:, 1:]], dim=1)
    x = blocks[1](blocks[0](x))
    x = torch.cat([x[:, :1], second.expand(3, -1, -1), x[:, 3:]], dim=1)
    expected = visual.ln_post(blocks[2](x))[:, 0] @ visual.proj
    backbone.image_prompt = Fixed({0: first, 2: second})
    for extra in (False, True):
        features = backbone.image(pixels, ALL if extra else POOLED)
        torch.testing.assert_close(features.pooled, expected, atol=2e-6, rtol=1e-4)
    assert features.tokens.shape == (3, 4, 48) and [h.shape for h in features.hidden] == [(3, 5, 48)] * 3


def test_an_opaque_tower_refuses_a_prompt_put_in_by_hand(random_model: Callable[..., Backbone]) -> None:
    resnet = {"layers": [1, 1, 1, 1], "image_size": 32, "width": 8, "head_width": 16}
    backbone = random_model(vision_cfg=resnet)
    backbone.image_prompt = Fixed({0: torch.zeros(1, 8)})
    with pytest.raises(UserError, match="has no prompt here"):
        backbone.image(torch.zeros(1, 3, 32, 32))
