"""Features of the towers, for tests of composers."""

from __future__ import annotations

import pytest
import torch

from clplat.models.features import ImageFeatures, TextFeatures

WIDTH = 16


def _features(rows=5, seed=0, scale=10.0):
    """Un-normalised, as towers give them."""
    g = torch.Generator().manual_seed(seed)
    image, text = scale * torch.randn(2, rows, WIDTH, generator=g)
    tokens = torch.randn(2, rows, 7, WIDTH, generator=g)
    ends = torch.full((rows,), 6)
    return ImageFeatures(image, tokens[0]), TextFeatures(text, tokens[1], ends=ends)


@pytest.fixture(scope="session")
def features():
    return _features
