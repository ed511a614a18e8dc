"""The trained map against the one that it starts from."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import normalize

from clplat.parts.projections.linear import Linear
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
