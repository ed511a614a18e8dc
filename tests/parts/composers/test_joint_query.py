"""COLA's adapter: what the query reads, and that padding is not read."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import normalize

from clplat.models.view import Towers
from clplat.parts.composers.joint_query import JointQuery
from clplat.randomness import generator, seeded
from clplat.testing import tiny_backbone
from clplat.testing.towers import features


def drawn(queries: int = 1) -> JointQuery:
    composer = JointQuery(width=8, heads=2, queries=queries)
    with seeded(0, "joint"):
        composer.attach(Towers(tiny_backbone()))
    draw = generator(0, "joint")
    for parameter in composer.parameters():
        parameter.data = 0.5 * torch.randn(parameter.shape, generator=draw)
    return composer.eval()


@pytest.mark.parametrize("queries", [1, 3])
def test_the_formula_by_hand(queries: int) -> None:
    """Sample by sample, without padding: torch's own layers on what is there."""
    composer = drawn(queries)
    image, text = features(tiny_backbone(), rows=3)
    found = composer(image, text)
    assert image.tokens is not None and text.tokens is not None and text.ends is not None
    for b in range(3):
        words = text.tokens[b, : int(text.ends[b]) + 1]
        held = torch.cat([composer.shown(image.tokens[b]), composer.said(words)])
        held = composer.encoder(held[None])
        read = composer.decoder[0](composer.queries[None], held)
        read = composer.out(composer.norm(read[0]).mean(0))
        expected = normalize(image.pooled[b], dim=0) + normalize(text.pooled[b], dim=0) + read
        torch.testing.assert_close(found[b], expected, rtol=1e-4, atol=1e-4)


def test_it_starts_as_the_sum_and_what_it_refuses() -> None:
    composer = JointQuery(width=8)
    composer.attach(Towers(tiny_backbone()))
    image, text = features(tiny_backbone(), rows=2)
    expected = normalize(image.pooled, dim=-1) + normalize(text.pooled, dim=-1)
    torch.testing.assert_close(composer.eval()(image, text), expected)
    for wrong in ({"width": 0}, {"queries": 0}, {"dropout": 1.0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            JointQuery(**wrong)  # type: ignore[arg-type]
