"""The spherical interpolation against angles in float64."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import normalize

from clplat.models.features import ImageFeatures, TextFeatures
from clplat.parts.composers.image_only import ImageOnly
from clplat.parts.composers.slerp import Slerp
from clplat.parts.composers.text_only import TextOnly

WIDTH = 24


@settings(max_examples=40, deadline=None)
@given(st.floats(0, 1), st.integers(0, 1000))
def test_slerp_divides_the_angle(features, alpha, seed):
    image, text = features(seed=seed)
    query = Slerp(alpha)(image, text).double()
    r, t = normalize(image.pooled.double(), dim=1), normalize(text.pooled.double(), dim=1)
    assert torch.allclose(query.norm(dim=1), torch.ones(5).double(), atol=1e-5)
    whole = torch.acos((r * t).sum(1))
    assert torch.allclose((query * r).sum(1), torch.cos(alpha * whole), atol=1e-5)
    assert torch.allclose((query * t).sum(1), torch.cos((1 - alpha) * whole), atol=1e-5)


@pytest.mark.parametrize("noise", [0.0, 1e-4, 1e-2])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_slerp_of_parallel_features_is_finite_with_its_gradient(features, noise, sign):
    image, text = features()
    text.pooled = sign * 2 * image.pooled + noise * text.pooled
    image.pooled.requires_grad_()
    query = Slerp(0.3)(image, text)
    query.square().mul(torch.arange(WIDTH)).sum().backward()
    assert torch.isfinite(query).all() and torch.isfinite(image.pooled.grad).all()
    if sign > 0:
        assert torch.allclose(query, normalize(image.pooled, dim=1), atol=2e-2)


def test_slerp_and_its_chord_meet():
    """No jump where the arc gives way to the chord."""
    angle = math.acos(0.9995)
    image = ImageFeatures(pooled=torch.tensor([[1.0, 0.0]]))
    around = [
        TextFeatures(pooled=torch.tensor([[math.cos(a), math.sin(a)]]))
        for a in (angle * 0.999, angle * 1.001)
    ]
    chord, arc = (Slerp(0.3)(image, text) for text in around)
    assert torch.allclose(chord, arc, atol=1e-4)


@pytest.mark.parametrize("weight, same", [(0.0, ImageOnly), (1.0, TextOnly)])
def test_the_ends_are_the_single_inputs(features, weight, same):
    assert torch.allclose(Slerp(weight)(*features()), same()(*features()), atol=1e-6)


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="alpha"):
        Slerp(alpha=-0.1)
