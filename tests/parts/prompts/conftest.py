"""A model of unequal towers, for tests of prompts."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from clplat.models.backbone import Backbone
from clplat.parts.prompts._base import Prompt

VISION = {"image_size": 24, "layers": 3, "width": 48, "head_width": 16, "patch_size": 12}
TEXT = {"context_length": 10, "width": 32, "heads": 2, "layers": 2, "vocab_size": 49408}
CONFIG = {"embed_dim": 32, "vision_cfg": VISION, "text_cfg": TEXT}
TEXTS = ["a red shoe", "dog", "one two three four five six seven eight"]


@pytest.fixture
def backbone() -> Backbone:
    return Backbone.random(CONFIG, seed=0)


@pytest.fixture(scope="session")
def random_model() -> Callable[..., Backbone]:
    """``random_model(seed, vision_cfg=...)``: that model with other weights or another configuration."""

    def model(seed: int = 0, **changed: Any) -> Backbone:
        return Backbone.random({**CONFIG, **changed}, seed=seed)

    return model


@pytest.fixture(scope="session")
def pixels() -> Tensor:
    return torch.randn(3, 3, 24, 24, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def trains_itself_only(random_model: Callable[..., Backbone], pixels: Tensor) -> Callable[[Prompt], None]:
    """Checks a prompt: attached, trained, copied and restored."""

    def check(prompt: Prompt) -> None:
        backbone = random_model()
        before, ids = backbone.fingerprint(), backbone.tokenize(TEXTS)
        base = {key: value.clone() for key, value in backbone.stock_state_dict().items()}
        torch.manual_seed(0)
        names = prompt.attach(backbone)
        assert (
            sorted(names) == sorted(name for name, p in backbone.named_parameters() if p.requires_grad)
            and names
        )
        assert len(set(backbone.state_dict())) == len(
            {id(p) for p in backbone.state_dict(keep_vars=True).values()}
        )
        attached = backbone.fingerprint()
        assert attached != before
        optimizer = torch.optim.Adam([backbone.get_parameter(name) for name in names], lr=1e-2)
        loss = backbone.image(pixels).pooled.square().sum() + backbone.text(ids).pooled.square().sum()
        loss.backward()
        assert all(backbone.get_parameter(name).grad.abs().sum() > 0 for name in names)
        optimizer.step()
        assert backbone.fingerprint() != attached
        assert all(torch.equal(value, base[key]) for key, value in backbone.stock_state_dict().items())

        # A copy owns its prompts, coupled ones too; and a new model takes them from a state dict.
        text, image = backbone.text(ids).pooled, backbone.image(pixels).pooled
        teacher, resumed = copy.deepcopy(backbone), random_model(seed=5)
        prompt.attach(resumed)
        resumed.load_state_dict(backbone.state_dict())
        with torch.no_grad():
            for name in names:
                backbone.get_parameter(name).add_(1.0)
        for other in (teacher, resumed):
            torch.testing.assert_close(other.text(ids).pooled, text)
            torch.testing.assert_close(other.image(pixels).pooled, image)
        assert not torch.allclose(backbone.text(ids).pooled, text)

    return check
