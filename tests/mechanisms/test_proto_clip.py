"""Proto-CLIP's shares and alignment in float64 by hand, and what training moves."""

from __future__ import annotations

import math

import torch
from torch.nn.functional import normalize

from clplat.mechanisms.proto_clip import alignment, class_means, proto_shares, trained_prototypes
from clplat.randomness import generator

DRAW = generator(0, "proto clip")
OWN = torch.arange(12) % 3
CENTRES = normalize(torch.randn(3, 6, generator=DRAW).double(), dim=1)
ROWS = normalize(CENTRES[OWN] + 0.8 * torch.randn(12, 6, generator=DRAW).double(), dim=1)
SAID = normalize(torch.randn(3, 6, generator=DRAW).double(), dim=1)


def test_shares_by_hand() -> None:
    found = proto_shares(ROWS[:2], CENTRES, SAID, share=0.3, sharpness=4.0)
    for i in range(2):
        for c in range(3):
            expected = 0.0
            for weight, side in ((0.3, CENTRES), (0.7, SAID)):
                near = [math.exp(-4.0 * sum(float(x) ** 2 for x in ROWS[i] - one)) for one in side]
                expected += weight * near[c] / sum(near)
            assert math.isclose(float(found[i, c]), expected, rel_tol=1e-9)


def test_prototypes_are_unit_means_of_unit_rows() -> None:
    found = class_means(3.0 * ROWS, OWN, 3)
    for c in range(3):
        assert torch.allclose(found[c], normalize(ROWS[c == OWN].mean(0), dim=0))


def test_alignment_goes_both_ways() -> None:
    cosines = (CENTRES @ SAID.T / 0.1).tolist()
    total = 0.0
    for i in range(3):
        total -= cosines[i][i] - math.log(sum(math.exp(x) for x in cosines[i]))
        total -= cosines[i][i] - math.log(sum(math.exp(row[i]) for row in cosines))
    assert math.isclose(float(alignment(CENTRES, SAID)), total / 3, rel_tol=1e-9)


def test_training_classifies_better_and_aligns() -> None:
    seen = class_means(ROWS, OWN, 3)
    both = trained_prototypes(
        ROWS, SAID, OWN, share=0.5, sharpness=5.0, steps=30, rate=0.02, draw=generator(0, "t")
    )

    def cost(one: torch.Tensor, other: torch.Tensor) -> float:
        return -float(proto_shares(ROWS, one, other, 0.5, 5.0)[torch.arange(12), OWN].log().mean())

    assert cost(*both) < cost(seen, SAID)
    assert float(alignment(*both)) < float(alignment(seen, SAID))
    again = trained_prototypes(
        ROWS, SAID, OWN, share=0.5, sharpness=5.0, steps=30, rate=0.02, draw=generator(0, "t")
    )
    assert torch.equal(both[0], again[0]) and torch.equal(both[1], again[1])
