"""TransCLIP's solver against its steps written out, and what it is for."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import normalize

from clplat.mechanisms.transduction import neighbour_weights, transduced
from clplat.randomness import generator

DRAW = generator(0, "transduction")
CENTRES = normalize(torch.randn(3, 6, generator=DRAW), dim=1)
OWN = torch.arange(30) % 3
ROWS = normalize(CENTRES[OWN] + 0.25 * torch.randn(30, 6, generator=DRAW), dim=1)
#: The text knows one picture in three, and guesses the others.
TEXT = (torch.eye(3)[OWN] * (torch.arange(30)[:, None] < 12) * 2 + torch.rand(30, 3, generator=DRAW)).softmax(
    1
)


def slowly(rows: Tensor, y: Tensor, neighbours: int, rounds: int, inner: int) -> Tensor:
    x, y = rows.double(), y.double()
    count, width = x.shape
    near = []
    for i in range(count):
        others = sorted((j for j in range(count) if j != i), key=lambda j: -float(x[i] @ x[j]))
        near.append(others[:neighbours])
    weights = torch.zeros(count, count).double()
    for i, some in enumerate(near):
        for j in some:
            weights[i, j] = x[i] @ x[j]
    means = []
    for c in range(y.shape[1]):
        sure = sorted(range(count), key=lambda i: -float(y[i, c]))[:8]
        mean = torch.stack([x[i] * y[i, c] for i in sure]).mean(0)
        means.append(mean / mean.norm())
    mu, variance, z = torch.stack(means), torch.full((width,), 1 / width).double(), y.clone()
    for step in range(rounds + 1):
        fit = -0.5 * ((x[:, None] - mu[None]) ** 2 / variance).sum(2)
        for _ in range(inner):
            each = fit + 50 / (2 * neighbours) * (weights.T @ z + weights @ z)
            z = y * torch.exp((each - each.amax(1, keepdim=True)) / 50)
            z = z / z.sum(1, keepdim=True)
        if step == rounds:
            break
        mu = normalize(torch.einsum("nc,nd->cd", z, x) / z.sum(0)[:, None], dim=1)
        variance = torch.einsum("nc,ncd->d", z, (x[:, None] - mu[None]) ** 2) / z.sum()
    return z


def test_it_is_the_solver_of_the_public_code() -> None:
    got = transduced(ROWS, TEXT, neighbours=3, rounds=3, inner=2)
    assert torch.allclose(got, slowly(ROWS, TEXT, 3, 3, 2), atol=1e-6)
    assert math.isclose(float(got.sum()), 30.0, abs_tol=1e-6)


def test_neighbours_settle_what_the_text_does_not_know() -> None:
    before = float((TEXT.argmax(1) == OWN).float().mean())
    after = float((transduced(ROWS, TEXT).argmax(1) == OWN).float().mean())
    assert after > before + 0.1


def test_only_the_nearest_others_count() -> None:
    weights = neighbour_weights(ROWS, 2).to_dense()
    assert (weights != 0).sum(1).tolist() == [2] * 30 and not weights.diagonal().any()
