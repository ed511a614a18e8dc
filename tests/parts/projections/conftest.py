"""Pairs of embeddings, for tests of projections."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import normalize


def _pairs(count=60, new_width=12, old_width=12, noise=0.05, seed=0):
    """Unit rows; the old space is a rotation of the new one, plus noise."""
    g = torch.Generator().manual_seed(seed)
    rotation = torch.linalg.qr(
        torch.randn(max(new_width, old_width), max(new_width, old_width), generator=g)
    )[0]
    new = normalize(torch.randn(count, new_width, generator=g), dim=1)
    old = new @ rotation[:new_width, :old_width] + noise * torch.randn(count, old_width, generator=g)
    return new, normalize(old, dim=1)


@pytest.fixture(scope="session")
def pairs():
    return _pairs
