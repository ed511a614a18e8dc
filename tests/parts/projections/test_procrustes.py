"""The rotation against scipy, and against its neighbours."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import normalize

from clplat.parts.projections.procrustes import Procrustes


def test_procrustes_equals_scipy(pairs):
    linalg = pytest.importorskip("scipy.linalg")
    new, old = pairs(noise=0.5)
    projection = Procrustes()
    projection.fit(new, old)
    expected, _ = linalg.orthogonal_procrustes(new.double().numpy(), old.double().numpy())
    assert torch.allclose(projection.matrix.double(), torch.from_numpy(expected), atol=1e-6)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 30))
def test_procrustes_is_orthogonal_and_best_among_its_neighbours(pairs, seed, count):
    new, old = pairs(count, noise=0.3, seed=seed)
    projection = Procrustes()
    projection.fit(new, old)
    r = projection.matrix.double()
    assert torch.allclose(r.T @ r, torch.eye(12).double(), atol=1e-5)
    spin = torch.randn(12, 12, generator=torch.Generator().manual_seed(seed)).double()
    other = r @ torch.linalg.matrix_exp(0.05 * (spin - spin.T))
    new, old = new.double(), old.double()
    assert (new @ r - old).norm() <= (new @ other - old).norm() + 1e-5


def test_procrustes_recovers_a_rotation_and_keeps_similarities(pairs):
    new, old = pairs(noise=0.0)
    projection = Procrustes()
    projection.fit(new, old)
    assert torch.allclose(projection(new), old, atol=1e-5)
    assert torch.allclose(projection(new) @ projection(new).T, new @ new.T, atol=1e-5)


def test_procrustes_keeps_the_identity_outside_the_pairs():
    """Three pairs in a plane: the rotation acts in that plane only."""
    new = torch.zeros(3, 6)
    new[:, :2] = normalize(torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]), dim=1)
    old = torch.zeros(3, 6)
    old[:, 0], old[:, 1] = -new[:, 1], new[:, 0]
    projection = Procrustes()
    projection.fit(new, old)
    expected = torch.eye(6)
    expected[:2, :2] = torch.tensor([[0.0, 1.0], [-1.0, 0.0]])
    assert torch.allclose(projection.matrix, expected, atol=1e-5)
    projection.fit(torch.zeros(1, 6), torch.zeros(1, 6))
    assert torch.allclose(projection.matrix, torch.eye(6), atol=1e-6)
