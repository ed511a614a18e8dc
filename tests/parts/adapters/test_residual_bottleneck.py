"""CLIP-Adapter's formula by hand, and which tower stays as it is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from clplat.models.features import ImageFeatures
from clplat.parts.adapters.residual_bottleneck import ResidualBottleneck, _Bottleneck
from clplat.testing import AdapterContract, tiny_backbone
from clplat.testing.towers import attached, embeddings


class TestBothTowers(AdapterContract):
    def make(self) -> ResidualBottleneck:
        return ResidualBottleneck(reduction=2, towers="both")


def test_the_formula_by_hand() -> None:
    torch.manual_seed(0)
    network = _Bottleneck(8, 4, 0.3).double()
    x = 3 * torch.randn(5, 8).double()
    down, up = (p.detach().numpy() for p in network.parameters())
    expected = 0.7 * x.numpy() + 0.3 * np.maximum(np.maximum(x.numpy() @ down.T, 0) @ up.T, 0)
    np.testing.assert_allclose(network(ImageFeatures(pooled=x)).detach().numpy(), expected, rtol=1e-12)


def test_texts_stay_as_they_are() -> None:
    backbone = tiny_backbone()
    before = embeddings(backbone)
    attached(ResidualBottleneck(), backbone)
    after = embeddings(backbone)
    assert torch.equal(after["text"], before["text"]) and not torch.equal(after["image"], before["image"])


@pytest.mark.parametrize("wrong", [{"reduction": 0}, {"ratio": 0.0}, {"towers": "none"}])
def test_what_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"needs a reduction|towers is"):
        ResidualBottleneck(**wrong)
