"""The trained map against the one that it starts from."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn.functional import normalize

from clplat.parts.projections.linear import Linear, off_rotation
from clplat.parts.projections.procrustes import Procrustes


def test_linear_improves_on_its_start_and_follows_its_seed(pairs):
    new, old = pairs(300, noise=0.2)
    old = normalize(old * torch.linspace(0.2, 2.0, 12), dim=1)  # no rotation does this
    start, trained, again, other = (
        Procrustes(),
        *(Linear(150, lr=5e-3, batch_size=32, seed=s) for s in (1, 1, 2)),
    )
    for projection in (start, trained, again, other):
        projection.fit(new, old)
    assert (trained(new) * old).sum(1).mean() > (start(new) * old).sum(1).mean() + 0.01
    assert torch.equal(trained.matrix, again.matrix)
    assert not torch.equal(trained.matrix, other.matrix)
    untrained = Linear(steps=0)
    untrained.fit(new, old)
    assert torch.allclose(untrained.matrix, start.matrix)


@pytest.mark.parametrize(("option", "value"), [("start", "random"), ("temperature", 0.0), ("batch_size", 0)])
def test_a_wrong_value_is_named(option, value):
    with pytest.raises(ValueError, match=option):
        Linear(**{option: value})


def test_the_distance_from_a_rotation_is_frobenius() -> None:
    draw = torch.Generator().manual_seed(0)
    for shape in ((5, 3), (3, 5), (4, 4)):
        matrix = torch.randn(shape, generator=draw, dtype=torch.float64)
        tall = matrix if shape[0] >= shape[1] else matrix.T
        total = 0.0
        for i in range(tall.shape[1]):
            for j in range(tall.shape[1]):
                dot = sum(float(tall[k, i] * tall[k, j]) for k in range(tall.shape[0]))
                total += (dot - (i == j)) ** 2
        assert float(off_rotation(matrix)) == pytest.approx(total**0.5, abs=1e-9)


def test_orthogonality_holds_it_within_the_slack() -> None:
    draw = torch.Generator().manual_seed(1)
    new = normalize(torch.randn(60, 6, generator=draw), dim=1)
    old = normalize(new @ torch.diag(torch.tensor([3.0, 2.0, 1.0, 0.5, 0.2, 0.1])), dim=1)
    away = {}
    for weight, slack in ((0.0, 0.0), (5.0, 1.0), (5.0, 0.0)):
        projection = Linear(steps=300, lr=1e-2, start="identity", orthogonality=weight, slack=slack)
        projection.fit(new, old)
        away[weight, slack] = float(off_rotation(projection.matrix))
    assert away[5.0, 0.0] < 0.2 < away[5.0, 1.0] < 1.2 < away[0.0, 0.0], away


def test_it_learns_from_what_it_is_told() -> None:
    eye = torch.eye(4)

    class Given:
        def texts(self) -> Any:
            return eye, eye.flip(0)

        pictures = queries = texts

    for chosen in ("texts", "queries", "pictures"):
        projection = Linear(steps=5, pairs=chosen)
        projection.learn(Given())
        assert projection.reads == {chosen}
        assert torch.allclose(projection(eye), eye.flip(0), atol=1e-3)
    with pytest.raises(ValueError, match="pairs must be"):
        Linear(pairs="captions")
