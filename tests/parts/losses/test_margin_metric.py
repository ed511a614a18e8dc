"""CLIPood's loss by hand, as its code has it."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy, normalize

from clplat.models.outputs import Outputs
from clplat.parts.losses.info_nce import InfoNCE
from clplat.parts.losses.margin_metric import MarginMetric
from clplat.progress import Progress

DRAW = torch.Generator().manual_seed(0)
Q, C = (normalize(torch.randn(n, 5, generator=DRAW), dim=1) for n in (3, 4))


def batch(positive: torch.Tensor) -> Any:
    return SimpleNamespace(positive=positive, valid=torch.ones(3, 4).bool(), weights=torch.ones(3))


def test_one_answer_is_the_loss_of_the_public_code() -> None:
    """There the text of the class, times the margin, is taken off the picture's feature."""
    found = MarginMetric(0.3)(Outputs(Q, C, torch.tensor(7.0)), batch(torch.eye(3, 4).bool()), Progress())
    moved = Q.double() - 0.3 * C[:3].double()
    expected = cross_entropy(7.0 * moved @ C.double().T, torch.arange(3))
    assert float(found) == pytest.approx(float(expected), abs=1e-5)


def test_margins_are_means_over_several_answers() -> None:
    positive = torch.eye(3, 4).bool()
    positive[0, 3] = True
    found = MarginMetric(0.5)(Outputs(Q, C, torch.tensor(2.0)), batch(positive), Progress())
    total = 0.0
    for i in range(3):
        right = [0, 3] if i == 0 else [i]
        logits = []
        for j in range(4):
            near = sum(float(C[k] @ C[j]) for k in right) / len(right)
            logits.append(2.0 * (float(Q[i] @ C[j]) + 0.5 * (1 - near)))
        norm = math.log(sum(math.exp(x) for x in logits))
        total -= sum(logits[k] - norm for k in right) / len(right)
    assert float(found) == pytest.approx(total / 3, abs=1e-5)


def test_without_a_margin_it_is_info_nce_and_margins_have_no_gradient() -> None:
    outputs = Outputs(Q, C, torch.tensor(7.0))
    plain = InfoNCE(symmetric=True)(outputs, batch(torch.eye(3, 4).bool()), Progress())
    assert torch.equal(
        MarginMetric(0.0, symmetric=True)(outputs, batch(torch.eye(3, 4).bool()), Progress()), plain
    )
    c = C.clone().requires_grad_()
    MarginMetric(5.0)(Outputs(Q, c, torch.tensor(1.0)), batch(torch.eye(3, 4).bool()), Progress()).backward()
    logits = Q @ C.T + 5.0 * (1 - C[:3] @ C.T)
    slope = (logits.softmax(1) - torch.eye(3, 4)).T @ Q / 3
    expected = slope - (slope * C).sum(1, keepdim=True) * C  # rows are divided by their length
    assert c.grad is not None and torch.allclose(c.grad, expected, atol=1e-5)


@pytest.mark.parametrize("wrong", [{"margin": -1.0}, {"temperature": 0.0}])
def test_what_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="needs a margin"):
        MarginMetric(**wrong)
