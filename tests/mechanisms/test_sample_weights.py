"""Weights per sample against loops in float64."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from clplat.mechanisms.sample_weights import difficulty, hard_pairs, shares_by_answer, shares_by_certainty
from clplat.randomness import generator

DRAW = generator(0, "weights")
ONE, OTHER = (3 * torch.randn(4, 6, generator=DRAW) for _ in range(2))


def softmax(row: list[float]) -> list[float]:
    powers = [math.exp(x - max(row)) for x in row]
    return [x / sum(powers) for x in powers]


def rows(logits: Tensor) -> list[list[float]]:
    return [softmax(row) for row in logits.double().tolist()]


def test_a_teacher_counts_as_far_as_it_finds_the_answer() -> None:
    wanted = [softmax([math.log(p[i][i]) / 0.5 for p in (rows(ONE), rows(OTHER))]) for i in range(4)]
    assert torch.allclose(shares_by_answer([ONE, OTHER], 0.5).T.double(), torch.tensor(wanted).double())


def test_a_certain_teacher_counts_more() -> None:
    """The published code of SUMMIT adds the entropy where it says that it subtracts it: that is the trap."""

    def entropy(row: list[float]) -> float:
        return -sum(p * math.log(p) for p in row)

    wanted = [softmax([-entropy(p[i]) / 0.7 for p in (rows(ONE), rows(OTHER))]) for i in range(4)]
    assert torch.allclose(shares_by_certainty([ONE, OTHER], 0.7).T.double(), torch.tensor(wanted).double())
    sure = shares_by_certainty([100 * torch.eye(4), torch.zeros(4, 4)])
    assert bool((sure[0] > sure[1]).all())


def test_difficulty_is_of_each_example_by_itself() -> None:
    """The published code of DCD weighs a batch's mean; the weights are those of examples."""
    wrong = [[-math.log(p[i][i]) for i in range(4)] for p in (rows(ONE), rows(OTHER))]
    wanted = [1 - math.exp(-own / (other + 1e-7)) for own, other in zip(*wrong, strict=True)]
    found = difficulty(ONE.requires_grad_(), OTHER)
    assert found.tolist() == pytest.approx(wanted, rel=1e-4) and not found.requires_grad


def test_the_hardest_wrong_answers_stay_beside_the_right_ones() -> None:
    positive = torch.eye(4, 6, dtype=torch.bool)
    found = hard_pairs(OTHER, positive, 2)
    for i, row in enumerate(OTHER.tolist()):
        wrong = sorted((j for j in range(6) if j != i), key=lambda j: -row[j])[:2]
        assert found[i].nonzero()[:, 0].tolist() == sorted([i, *wrong])
    assert bool(hard_pairs(OTHER, positive, 100).all())
