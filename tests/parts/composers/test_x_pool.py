"""X-Pool against its formula, and where it starts."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from clplat.models.view import Towers
from clplat.parts.composers.x_pool import XPool
from clplat.testing import tiny_backbone, tiny_collate, tiny_domains, tiny_retriever
from clplat.testing.towers import features as drawn


def attached() -> XPool:
    composer = XPool()
    composer.attach(Towers(tiny_backbone()))
    return composer.eval()


def norm(x: Any, weight: Any, bias: Any) -> Any:
    return weight * (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5) + bias


def unit(x: Any) -> Any:
    return x / np.linalg.norm(x)


def test_the_formula_by_hand() -> None:
    composer, (image, text) = attached(), drawn(tiny_backbone(), rows=3)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in composer.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape))
    found = composer(image, text)
    w: Any = {name: p.detach().double().numpy() for name, p in composer.named_parameters()}
    projection = tiny_backbone().model.visual.proj.detach().double().numpy()

    def layer(name: str, x: Any) -> Any:
        return x @ w[f"{name}.weight"].T + w.get(f"{name}.bias", 0.0)

    def normed(name: str, x: Any) -> Any:
        return norm(x, w[f"{name}.weight"], w[f"{name}.bias"])

    for row in range(3):
        t = text.pooled[row].double().numpy()
        c = normed("norm_in", image.tokens[row].double().numpy() @ projection)
        scores = layer("key", c) @ layer("query", normed("norm_in", t)) / math.sqrt(len(t))
        weights = np.exp(scores) / np.exp(scores).sum()
        attended = normed("norm_attended", layer("output", weights @ layer("value", c)))
        out = normed("norm_out", layer("linear", attended) + attended)
        np.testing.assert_allclose(found[row].detach().numpy(), unit(t) + unit(out), atol=1e-5)


def test_it_starts_as_plain_attention_pooling_and_draws_nothing() -> None:
    for name, parameter in attached().named_parameters():
        if name.endswith("weight") and parameter.dim() == 2:
            assert torch.equal(parameter, torch.eye(24)), name


def test_candidates_are_not_computed_with_tokens() -> None:
    """Only the references need patches: the pictures of the gallery go another way."""
    model, batch = tiny_retriever(composer=XPool()).eval(), tiny_collate()(tiny_domains()[0].train[:4])
    asked: list[tuple[int, frozenset[str]]] = []
    plain = model.image_features

    def counted(images: Any, wants: Any) -> Any:
        asked.append((len(images), frozenset(wants)))
        return plain(images, wants)

    model.image_features = counted  # type: ignore[method-assign]
    model(batch)
    assert asked == [(4, frozenset({"tokens"})), (4, frozenset({"pooled"}))]
