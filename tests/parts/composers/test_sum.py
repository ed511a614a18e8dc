"""The weighted sum against plain numbers."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import normalize

from clplat.models.features import ImageFeatures, TextFeatures
from clplat.parts.composers.image_only import ImageOnly
from clplat.parts.composers.sum import Sum
from clplat.parts.composers.text_only import TextOnly


def test_sum_by_hand():
    image, text = (
        ImageFeatures(pooled=torch.tensor([[3.0, 0.0]])),
        TextFeatures(pooled=torch.tensor([[0.0, 2.0]])),
    )
    expected = torch.tensor([[0.25, 0.75]]) / math.hypot(0.25, 0.75)
    assert torch.allclose(Sum(0.75)(image, text), expected)
    raw = torch.tensor([[0.75, 1.5]]) / math.hypot(0.75, 1.5)
    assert torch.allclose(Sum(0.75, normalise=False)(image, text), raw)


def test_half_the_raw_sum_is_clip4cirs_sum(features):
    image, text = features()
    expected = normalize(image.pooled + text.pooled, dim=1)
    assert torch.allclose(Sum(0.5, normalise=False)(image, text), expected, atol=1e-6)


@pytest.mark.parametrize("weight, same", [(0.0, ImageOnly), (1.0, TextOnly)])
def test_the_ends_are_the_single_inputs(features, weight, same):
    assert torch.allclose(Sum(weight)(*features()), same()(*features()), atol=1e-6)


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="weight"):
        Sum(weight=1.5)
