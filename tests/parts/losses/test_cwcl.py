"""CWCL against its definition in float64, one number at a time."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import cross_entropy, normalize

from clplat.models.outputs import Outputs
from clplat.parts.losses.cwcl import CWCL
from clplat.progress import Progress
from clplat.testing import tiny_collate, tiny_domains

BATCH = tiny_collate()(tiny_domains()[0].train[:6])


def world(seed: int) -> Outputs:
    query, candidates = normalize(torch.randn(2, 6, 8, generator=torch.Generator().manual_seed(seed)), dim=-1)
    return Outputs(query.requires_grad_(), candidates.requires_grad_(), torch.tensor(11.0))


@pytest.mark.parametrize("seed", range(3))
def test_equals_the_definition(seed: int) -> None:
    outputs = world(seed)
    p, q = outputs.candidates.detach().double(), outputs.query.detach().double()
    total = 0.0
    for i in range(6):
        weights = [0.5 + 0.5 * float(p[i] @ p[j]) for j in range(6)]
        log_sum = math.log(sum(math.exp(11.0 * float(p[i] @ q[j])) for j in range(6)))
        drawn = sum(w * (11.0 * float(p[i] @ q[j]) - log_sum) for j, w in enumerate(weights))
        total -= drawn / sum(weights) / 6
    plain = float(cross_entropy(11.0 * q @ p.T, torch.arange(6)))
    found = CWCL()(outputs, BATCH, Progress())
    assert found.item() == pytest.approx((total + plain) / 2, rel=1e-5)


def test_the_weights_get_no_gradient() -> None:
    """With the plain direction taken away, targets move by their scores with queries alone."""
    outputs = world(0)
    loss = CWCL(temperature=0.1)
    (found,) = torch.autograd.grad(loss(outputs, BATCH, Progress()), outputs.candidates)
    p, q = outputs.candidates.detach().double(), outputs.query.detach().double()
    weights = 0.5 + 0.5 * p @ p.T
    weights = weights / weights.sum(1, keepdim=True)
    back = ((10 * p @ q.T).softmax(1) - weights) @ q * 10 / 6
    forth = ((10 * q @ p.T).softmax(1) - torch.eye(6)).T.double() @ q * 10 / 6
    expected = (back + forth) / 2
    along = (expected * p).sum(1, keepdim=True) * p  # the length of unit rows is nothing to learn
    assert torch.allclose(found.double(), expected - along, atol=1e-5)


def test_a_wrong_temperature_is_refused() -> None:
    with pytest.raises(ValueError, match="temperature must be above 0, not -1"):
        CWCL(temperature=-1.0)
