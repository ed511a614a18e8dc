"""Random features are decorrelated over the banks, and whole rows by the formula."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from clplat.parts.postprocessors._base import Banks, Scored
from clplat.parts.postprocessors.random_projection import RandomProjection
from clplat.randomness import generator
from clplat.testing import PostProcessorContract

DRAW = generator(0, "projection")
QUERIES, PICTURES, ASKED = (F.normalize(torch.randn(n, 6, generator=DRAW), dim=1) for n in (40, 30, 5))


def test_scores_are_ranpacs_with_every_item_as_a_class() -> None:
    part = RandomProjection(width=12, ridge=0.5)
    part.fit(Banks(QUERIES, PICTURES))
    q, g = part.map(Scored(ASKED), Scored(PICTURES))
    weights = torch.randn(6, 12, generator=generator(0, "random features", 6)).double()
    h = {
        name: (rows.double() @ weights).relu()
        for name, rows in (("b", QUERIES), ("p", PICTURES), ("q", ASKED))
    }
    gram = torch.zeros(12, 12).double()
    for name, count in (("b", 40), ("p", 30)):
        for row in h[name]:
            gram += torch.outer(row, row) / count / 2
    inverse = torch.linalg.inv(gram + 0.5 * gram.trace() / 12 * torch.eye(12).double())
    lengths = [(h[name] @ inverse * h[name]).sum(1).sqrt() for name in ("q", "p")]
    expected = h["q"] @ inverse @ h["p"].T / lengths[0][:, None] / lengths[1]
    assert torch.allclose(q.double() @ g.double().T, expected, atol=1e-4)


def test_the_order_of_domains_does_not_matter() -> None:
    forward, backward = RandomProjection(width=8), RandomProjection(width=8)
    forward.fit(Banks(QUERIES, PICTURES))
    backward.fit(Banks(QUERIES.flip(0), PICTURES.flip(0)))
    found = [part.map(Scored(ASKED), Scored(PICTURES)) for part in (forward, backward)]
    assert all(torch.allclose(one, other, atol=1e-4) for one, other in zip(*found, strict=True))


class TestRandomProjection(PostProcessorContract):
    def make(self) -> RandomProjection:
        return RandomProjection(width=64)
