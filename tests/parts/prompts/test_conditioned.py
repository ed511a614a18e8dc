"""Prompts made of the picture by hand: from which summaries, at which layers, and for the query alone."""

from __future__ import annotations

from math import erf
from typing import Any

import numpy as np
import pytest
import torch

from clplat.models.backbone import Backbone
from clplat.models.features import ImageFeatures, TextFeatures
from clplat.parts.composers.sum import Sum
from clplat.parts.prompts.conditioned import ConditionedPrompt
from clplat.randomness import seeded
from clplat.retriever import ComposedRetriever
from clplat.testing import tiny_backbone, tiny_collate, tiny_domains


def prompted(**options: Any) -> Backbone:
    backbone = tiny_backbone()
    with seeded(0, "conditioned"):
        ConditionedPrompt(**{"length": 2, "depth": 2, "grid": 2, "width": 8, "heads": 1, **options}).attach(
            backbone
        )
    prompt: Any = backbone.text_prompt
    for parameter in prompt.reader.out[1].parameters():  # zero at first
        torch.nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(1))
    return backbone.eval()


def layer_norm(x: np.ndarray, part: Any) -> np.ndarray:
    centred = x - x.mean(-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + part.eps)
    found: np.ndarray = scaled * of(part.weight) + of(part.bias)
    return found


def of(tensor: torch.Tensor) -> np.ndarray:
    found: np.ndarray = tensor.detach().double().numpy()
    return found


def attended(part: Any, asks: np.ndarray, holds: np.ndarray) -> np.ndarray:
    """Attention of one head, in float64."""
    wq, wk, wv = np.split(of(part.in_proj_weight), 3)
    bq, bk, bv = np.split(of(part.in_proj_bias), 3)
    q, k, v = asks @ wq.T + bq, holds @ wk.T + bk, holds @ wv.T + bv
    weights = np.exp(q @ k.T / np.sqrt(q.shape[1]))
    found: np.ndarray = (weights / weights.sum(1, keepdims=True)) @ v
    return found @ of(part.out_proj.weight).T + of(part.out_proj.bias)


def test_the_formula_by_hand() -> None:
    """Of a picture of 4 x 4 patches: four cells, which the vectors of both layers read."""
    prompt: Any = prompted().text_prompt
    width = prompt.reader.held[0].normalized_shape[0]
    patches = torch.randn(1, 16, width, generator=torch.Generator().manual_seed(0))
    square = of(patches).reshape(4, 4, width)
    cells = [square[i : i + 2, j : j + 2].mean((0, 1)) for i in (0, 2) for j in (0, 2)]
    reader, layer = prompt.reader, prompt.reader.layers[0]
    c = of(prompt.vectors).reshape(4, -1)
    x = layer_norm(c, reader.asked[0]) @ of(reader.asked[1].weight).T + of(reader.asked[1].bias)
    s = layer_norm(np.stack(cells), reader.held[0]) @ of(reader.held[1].weight).T + of(reader.held[1].bias)
    s = layer_norm(s, reader.held[2])
    y = layer_norm(x, layer.norms[0])
    x = x + attended(layer.own, y, y)
    x = x + attended(layer.other, layer_norm(x, layer.norms[1]), s)
    h = layer_norm(x, layer.norms[2]) @ of(layer.mlp[0].weight).T + of(layer.mlp[0].bias)
    h = h * 0.5 * (1 + np.vectorize(erf)(h / np.sqrt(2)))
    x = x + h @ of(layer.mlp[3].weight).T + of(layer.mlp[3].bias)
    made = c + layer_norm(x, reader.out[0]) @ of(reader.out[1].weight).T + of(reader.out[1].bias)
    chosen = prompt.begin(None, ImageFeatures(tokens=patches))
    for number in (0, 1):
        found = of(chosen(number)[0])
        np.testing.assert_allclose(found, made.reshape(2, 2, -1)[number], atol=1e-5)
    assert chosen.length == 2


def test_at_first_a_text_has_the_vectors_alone() -> None:
    backbone = tiny_backbone()
    ConditionedPrompt(length=2, depth=1).attach(backbone)
    prompt: Any = backbone.text_prompt
    patches = torch.randn(1, 16, prompt.reader.held[0].normalized_shape[0])
    assert torch.equal(prompt.begin(None, ImageFeatures(tokens=patches))(0)[0], prompt.vectors[0])


def test_a_text_alone_has_vectors_that_no_picture_made() -> None:
    prompt: Any = prompted().text_prompt
    chosen = prompt.begin(TextFeatures(), None)
    assert torch.equal(chosen(0), prompt.vectors[0]) and torch.equal(chosen(1), prompt.vectors[1])
    assert prompted(depth=1).text_prompt(1) is None  # type: ignore[misc]


def test_a_query_reads_its_own_picture_and_a_gallery_vector_no_query() -> None:
    model, batch = ComposedRetriever(prompted(), Sum()).eval(), tiny_collate()(tiny_domains()[0].train[:4])
    shown, turned = batch.pictures.part([0, 1]), batch.pictures.part([1, 0])
    said = batch.texts.part([0, 0])
    with torch.no_grad():
        patches = [model.image_features(images, {"tokens"}) for images in (shown, turned)]
        one, two = (model.text_features(said, other=other).pooled for other in patches)
        assert torch.allclose(one, two.flip(0), atol=1e-6) and not torch.allclose(one[0], one[1], atol=1e-5)
        expected = Sum()(model.image_features(shown), TextFeatures(pooled=one))
        torch.testing.assert_close(model.encode_queries(shown, said), expected, atol=1e-5, rtol=0)
        bare = ComposedRetriever(tiny_backbone(), Sum()).eval().encode_images(shown)
        assert torch.equal(model.encode_images(shown), bare)


def test_a_size_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="must be at least 1"):
        ConditionedPrompt(grid=0)
