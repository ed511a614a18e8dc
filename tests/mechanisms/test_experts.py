"""Mixtures of experts by hand in float64: balance losses, load and entropy; no gate, no change."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from clplat.mechanisms.experts import entropy, load, load_balance, mixed, router_z, top_k_gates


@pytest.fixture
def logits() -> Tensor:
    return torch.randn(7, 3, generator=torch.Generator().manual_seed(0)).double()


def chances(logits: Tensor) -> list[list[float]]:
    rows: list[list[float]] = logits.tolist()
    return [[math.exp(x) / sum(map(math.exp, row)) for x in row] for row in rows]


@pytest.mark.parametrize("k", [1, 2])
def test_load_balance_by_hand(logits: Tensor, k: int) -> None:
    chosen = [sorted(range(3), key=lambda e, row=row: -row[e])[:k] for row in logits.tolist()]  # type: ignore[misc]
    by_hand = 0.0
    for e in range(3):
        share = sum(e in each for each in chosen) / 7
        by_hand += 3 * share * sum(row[e] for row in chances(logits)) / 7
    assert float(load_balance(logits, k)) == pytest.approx(by_hand, rel=1e-6)


def test_balance_is_per_router() -> None:
    """Two routers that use one expert each are not balanced; pooled, as in CLIP-MoE's code, they would be."""
    one, two = torch.tensor([[9.0, 0.0]]).expand(4, 2), torch.tensor([[0.0, 9.0]]).expand(4, 2)
    assert min(float(load_balance(each, 1)) for each in (one, two)) > 1.99
    assert float(load_balance(torch.cat([one, two]), 1)) == pytest.approx(1.0)


def test_z_entropy_and_load_by_hand(logits: Tensor) -> None:
    z = sum(math.log(sum(map(math.exp, row))) ** 2 for row in logits.tolist()) / 7
    assert float(router_z(logits)) == pytest.approx(z, rel=1e-6)
    spread = -sum(p * math.log(p) for row in chances(logits) for p in row) / 7 / math.log(3)
    assert float(entropy(logits)) == pytest.approx(spread, rel=1e-6)
    gates = top_k_gates(logits, 2)
    counts = [sum(float(row[e]) > 0 for row in gates) for e in range(3)]
    assert load(gates).tolist() == pytest.approx([count / 14 for count in counts])


@pytest.mark.parametrize("k", [1, 2, 3])
def test_equal_experts_are_one_whatever_the_gates(logits: Tensor, k: int) -> None:
    h = torch.randn(7, 5, generator=torch.Generator().manual_seed(1)).double()
    gates = top_k_gates(logits, k)
    torch.testing.assert_close(mixed(h, gates, [torch.tanh] * 3), torch.tanh(h))
    with torch.no_grad():
        torch.testing.assert_close(mixed(h, gates, [torch.tanh] * 3), torch.tanh(h))


def test_the_losses_reach_the_router(logits: Tensor) -> None:
    for loss in (load_balance(logits.requires_grad_(), 2), router_z(logits)):
        (slope,) = torch.autograd.grad(loss, [logits])
        assert bool(slope.any())
