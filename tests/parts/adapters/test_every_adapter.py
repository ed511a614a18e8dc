"""What every registered adapter keeps to, beside its contract."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from clplat import registry
from clplat.models.backbone import Backbone
from clplat.parts.adapters._base import Adapter
from clplat.training.step import idle_tensors

#: What the default is too large for, where texts have 12 tokens.
OPTIONS = {"long_text": {"keep": 8}}
TEXTS = ["a red shoe", "is blue and long", "dog", "cat on a mat"]


def embed(backbone: Backbone) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (4, 3, 24, 24), dtype=torch.uint8, generator=draw)
    images = F.normalize(backbone.image(pixels).pooled, dim=-1)
    return images, F.normalize(backbone.text(backbone.tokenize(TEXTS)).pooled, dim=-1)


def without_effect(adapter: Adapter, name: str) -> bool:
    return any(re.search(pattern, name) for pattern in adapter.without_effect)


@pytest.mark.parametrize("method", registry.names("adapters"))
def test_gradients_are_zero_where_it_is_declared_and_nowhere_else(backbone: Backbone, method: str) -> None:
    """In double precision, where rounding is ten million times smaller than the smallest gradient."""
    if method == "adamss":
        pytest.skip("PEFT's AdaMSS computes in single precision only")
    torch.manual_seed(0)
    adapter = registry.load("adapters", method)(**OPTIONS.get(method, {}))
    names = adapter.attach(backbone)
    backbone.double()
    largest, idle = dict.fromkeys(names, 0.0), idle_tensors(backbone)
    parameters = [backbone.get_parameter(name) for name in names]
    optimizer = torch.optim.Adam(parameters, lr=1e-2)
    for _ in range(2):  # what multiplies a zero has no gradient at first
        images, texts = embed(backbone.train())
        optimizer.zero_grad()
        F.cross_entropy(20 * images @ texts.T, torch.arange(4)).backward()
        for name, parameter in zip(names, parameters, strict=True):
            if parameter.grad is not None or id(parameter) not in idle:
                largest[name] = max(largest[name], float(parameter.grad.abs().max()))
        optimizer.step()
    top = max(largest.values())
    used = {name for name, p in zip(names, parameters, strict=True) if largest[name] or id(p) not in idle}
    zero = {name for name in used if largest[name] < 1e-12 * top}
    assert zero == {name for name in names if without_effect(adapter, name)}
