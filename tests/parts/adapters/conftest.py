"""A model whose biases are not zero, for tests of adapters."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch

from clplat.models.backbone import Backbone

CONFIG = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 24, "layers": 2, "width": 48, "head_width": 16, "patch_size": 12},
    "text_cfg": {"context_length": 12, "width": 32, "heads": 2, "layers": 2, "vocab_size": 49408},
}


@pytest.fixture(scope="module")
def base() -> Backbone:
    """A random model whose biases are not zero, as no trained model's are."""
    backbone = Backbone.random(CONFIG, seed=0)
    generator = torch.Generator().manual_seed(1)
    for name, parameter in backbone.model.named_parameters():
        if name.endswith("bias"):
            parameter.data.normal_(std=0.1, generator=generator)
    return backbone


@pytest.fixture
def backbone(base: Backbone) -> Backbone:
    return copy.deepcopy(base)


@pytest.fixture(scope="session")
def random_model() -> Callable[..., Backbone]:
    """``random_model(vision_cfg=...)``: a model of another configuration."""
    return lambda **changed: Backbone.random({**CONFIG, **changed}, seed=0)
