"""Descriptions, opposites and certainty by hand, and the trap of each."""

from __future__ import annotations

import math

import torch
from torch.nn.functional import normalize

from clplat.mechanisms.prompted import antonym_share, described, fused_by_certainty
from clplat.randomness import generator

DRAW = generator(0, "prompted")
ROWS = normalize(torch.randn(3, 5, generator=DRAW), dim=1)


def test_the_mean_of_cosines_is_not_the_cosine_of_the_mean() -> None:
    told = {name: normalize(torch.randn(n, 5, generator=DRAW), dim=1) for name, n in (("hen", 3), ("fox", 2))}
    scores, why = described(ROWS, told)
    for i, row in enumerate(ROWS.double()):
        for c, name in enumerate(told):
            cosines = [float(row @ d) for d in told[name].double()]
            assert math.isclose(float(scores[i, c]), sum(cosines) / len(cosines), abs_tol=1e-6)
    direction = normalize(told["hen"].mean(0), dim=0)
    assert not torch.allclose(scores[:, 0], ROWS @ direction, atol=0.01)
    assert why["fox"].shape == (3, 2), "what explains a score"


def test_a_pair_of_opposites_is_a_softmax() -> None:
    good, bad = normalize(torch.randn(2, 5, generator=DRAW), dim=1)
    got = antonym_share(ROWS, good, bad, scale=3.0)
    for row, share in zip(ROWS.double(), got, strict=True):
        a, b = (math.exp(3.0 * float(row @ side.double())) for side in (good, bad))
        assert math.isclose(float(share), a / (a + b), abs_tol=1e-6)


def test_a_branch_that_does_not_know_does_not_count_and_rows_do_not_meet() -> None:
    sure, fair = torch.tensor([[0.9, 0.1, 0.0]]), torch.tensor([[0.5, 0.25, 0.25]])
    entropies = [-sum(p * math.log(p) for p in row[0].tolist() if p > 1e-9) for row in (sure, fair)]
    weights = [1 - entropy / math.log(3) for entropy in entropies]
    expected = [
        (weights[0] * p + weights[1] * r) / sum(weights) for p, r in ((0.9, 0.5), (0.1, 0.25), (0.0, 0.25))
    ]
    got = fused_by_certainty([sure, fair])[0].tolist()
    assert all(math.isclose(a, b, abs_tol=1e-6) for a, b in zip(got, expected, strict=True))
    flat = torch.full((1, 3), 1 / 3)
    assert torch.allclose(fused_by_certainty([sure, flat]), sure, atol=1e-4)
    assert torch.allclose(fused_by_certainty([flat, flat]), flat)
    after = fused_by_certainty([torch.cat([fair, sure]), torch.cat([sure, fair])])
    assert torch.equal(after[1], fused_by_certainty([sure, fair])[0]), "the code's remember earlier rows"
