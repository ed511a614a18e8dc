"""Caches and Gaussians in float64 by hand, as the public codes have them, and what a stream may change."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from clplat.mechanisms.caches import (
    ClassGaussians,
    class_shares,
    confident,
    divergences,
    looked_up,
    scaled_to,
    spread_weights,
)
from clplat.randomness import generator

DRAW = generator(0, "caches")
ASKED, KEYS, TEXTS = (normalize(torch.randn(n, 6, generator=DRAW), dim=1).double() for n in (4, 9, 3))
OWN = torch.arange(9) % 3


def kl(p: Tensor, q: Tensor) -> float:
    return sum(float(a) * math.log(float(a) / float(b)) for a, b in zip(p, q, strict=True))


def test_a_cache_adds_up_what_near_keys_say() -> None:
    got = looked_up(ASKED @ KEYS.T, torch.eye(3).double()[OWN], beta=4.0)
    for i, query in enumerate(ASKED):
        for c in range(3):
            near = [
                math.exp(-4.0 * (1 - float(query @ key)))
                for key, own in zip(KEYS, OWN, strict=True)
                if own == c
            ]
            assert math.isclose(float(got[i, c]), sum(near), abs_tol=1e-9)


def test_tfups_weights_are_those_of_the_public_code() -> None:
    asked, kept = (class_shares(rows, TEXTS, 10.0) for rows in (ASKED, KEYS))
    apart = divergences(asked, kept)
    for i in range(4):
        row = np.array([kl(asked[i], other) for other in kept])
        assert np.allclose(apart[i], row, atol=1e-9)
        scored = (row - row.mean()) / row.std(ddof=1)
        weights = 2 * (1 - (scored - scored.min()) / (scored.max() - scored.min()))
        assert np.allclose(spread_weights(apart)[i], weights, atol=1e-9)


def test_caps_divergences_take_the_range_of_affinities_row_by_row() -> None:
    apart, affinity = torch.rand(2, 5, generator=DRAW), torch.rand(2, 5, generator=DRAW)
    got = scaled_to(apart, affinity)
    for row, like, found in zip(apart.double(), affinity.double(), got, strict=True):
        share = (row - row.min()) / (row.max() - row.min())
        assert torch.allclose(found.double(), share * (like.max() - like.min()) + like.min(), atol=1e-6)
    few = scaled_to(apart[:1], affinity[:1])
    assert torch.equal(few[0], got[0]), "the code's minimum over all queries would let them change each other"


def test_prototypes_are_sure_and_like_the_others_that_are_sure() -> None:
    shares = class_shares(KEYS, TEXTS, 10.0)
    rows, classes = confident(shares, shots=2)
    for c in range(3):
        sure = sorted(range(9), key=lambda i: -float(shares[i, c]))[:4]
        typical = sorted(sure, key=lambda i: sum(kl(shares[i], shares[j]) for j in sure))[:2]
        assert rows[classes == c].tolist() == typical


def test_gda_is_that_of_the_public_code_in_any_portions_and_order() -> None:
    held = ClassGaussians(3, 6)
    for part in (slice(5, 9), slice(0, 5)):
        held.add(KEYS[part], OWN[part])
    weights, bias = held.classifier()
    rows, own = KEYS.numpy(), OWN.numpy()
    means = np.stack([rows[own == c].mean(0) for c in range(3)])
    away = np.concatenate([rows[own == c] - means[c] for c in range(3)])
    spread = np.cov(away.T)
    inverse = 6 * np.linalg.pinv((len(away) - 1) * spread + np.trace(spread) * np.eye(6))
    assert np.allclose(weights, means @ inverse, atol=1e-8)
    expected = [math.log(1 / 3) - mean @ inverse @ mean / 2 for mean in means]
    assert np.allclose(bias, expected, atol=1e-8)


def test_a_class_without_an_example_is_never_the_answer() -> None:
    held = ClassGaussians(4, 6)
    held.add(KEYS, OWN)
    assert held.classifier()[1].isinf().tolist() == [False, False, False, True]
