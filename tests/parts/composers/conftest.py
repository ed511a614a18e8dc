"""Features of the towers, for tests of composers."""

from __future__ import annotations

import pytest

from clplat.testing import tiny_backbone
from clplat.testing.towers import features as drawn


def _features(rows=5, seed=0, scale=10.0):
    """Un-normalised, as towers give them."""
    return drawn(tiny_backbone(), rows, scale, seed)


@pytest.fixture(scope="session")
def features():
    return _features
