"""MagicLens: both sides go through the same layers, and the gallery knows no query."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from clplat.errors import UserError
from clplat.models.features import ImageFeatures, TextFeatures
from clplat.models.view import Towers
from clplat.parts.composers.magic_lens import MagicLens
from clplat.testing import tiny_backbone, tiny_collate, tiny_domains, tiny_retriever


def attached(**options: Any) -> MagicLens:
    torch.manual_seed(0)
    composer = MagicLens(**{"depth": 1, "heads": 2, "widen": 1, **options})
    composer.attach(Towers(tiny_backbone()))
    return composer.eval()


def heads_attend(query: Any, tokens: Any, w: dict[str, Any], name: str, heads: int) -> Any:
    """Multi-head attention of (L, D) queries over (S, D) tokens, in plain numpy."""
    q, k, v = np.split(w[f"{name}.in_proj_weight"], 3)
    bq, bk, bv = np.split(w[f"{name}.in_proj_bias"], 3)
    q, k, v = query @ q.T + bq, tokens @ k.T + bk, tokens @ v.T + bv
    out = []
    for a, b, c in zip(*(np.split(x, heads, axis=1) for x in (q, k, v)), strict=True):
        scores = np.exp(a @ b.T / np.sqrt(a.shape[1]))
        out.append(scores / scores.sum(1, keepdims=True) @ c)
    return np.concatenate(out, 1) @ w[f"{name}.out_proj.weight"].T + w[f"{name}.out_proj.bias"]


def test_the_formula_by_hand() -> None:
    composer = attached()
    torch.manual_seed(1)
    shown, said = torch.randn(1, 24), torch.randn(1, 24)
    w: Any = {name: p.detach().double().numpy() for name, p in composer.named_parameters()}

    def normed(x: Any, name: str) -> Any:
        y = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
        return y * w[f"{name}.weight"] + w[f"{name}.bias"]

    x, layer = torch.cat([shown, said]).double().numpy(), "layers.layers.0"
    y = normed(x, f"{layer}.norm1")
    x = x + heads_attend(y, y, w, f"{layer}.self_attn", 2)
    y = normed(x, f"{layer}.norm2") @ w[f"{layer}.linear1.weight"].T + w[f"{layer}.linear1.bias"]
    y = torch.nn.functional.gelu(torch.from_numpy(y)).numpy()
    x = x + y @ w[f"{layer}.linear2.weight"].T + w[f"{layer}.linear2.bias"]
    expected = heads_attend(w["seed"][0], x, w, "pooling", 2)
    found = composer(ImageFeatures(pooled=shown), TextFeatures(pooled=said))
    np.testing.assert_allclose(found.detach().numpy(), expected, atol=1e-5)


def test_a_candidate_is_the_picture_with_an_empty_text() -> None:
    composer = attached()
    image = ImageFeatures(pooled=torch.randn(3, 24, generator=torch.Generator().manual_seed(0)))
    nothing = tiny_backbone().text(tiny_backbone().tokenize([""])).pooled.expand(3, -1)
    assert torch.allclose(composer.target(image), composer(image, TextFeatures(pooled=nothing)), atol=1e-6)
    model, batch = tiny_retriever(composer=attached()).eval(), tiny_collate()(tiny_domains()[0].train[:4])
    pooled = model.image_features(batch.pictures.part(range(4, 8))).pooled
    expected = torch.nn.functional.normalize(model.composer.target(ImageFeatures(pooled=pooled)), dim=-1)
    assert torch.allclose(model(batch).candidates, expected, atol=1e-6)
    assert torch.allclose(model.encode_images(batch.pictures.part(range(4, 8))), expected, atol=1e-6)


def test_layers_are_drawn_apart_and_widths_must_fit() -> None:
    first, second = attached(depth=2).layers.layers
    assert not torch.equal(first.linear1.weight, second.linear1.weight)
    with pytest.raises(UserError, match="heads is 5; the joint space is 24 wide"):
        attached(heads=5)
