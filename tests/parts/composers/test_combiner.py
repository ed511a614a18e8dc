"""The Combiner against CLIP4Cir's formula."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import normalize

from clplat.errors import UserError
from clplat.parts.composers.combiner import Combiner
from clplat.parts.composers.sum import Sum

WIDTH = 24


def combiner(**options):
    composer = Combiner(projection=24, hidden=32, **options)
    torch.manual_seed(0)
    composer.build(WIDTH)
    return composer


def test_the_combiner_begins_as_the_sum(features):
    expected = Sum(0.5, normalise=False)(*features())
    assert torch.allclose(combiner()(*features()), expected, atol=1e-6)  # in training mode, with dropout
    assert not torch.allclose(combiner(start="random").eval()(*features()), expected, atol=1e-2)


def test_the_combiner_is_the_papers_formula(features):
    """CLIP4Cir's forward pass, as its repository writes it."""
    c, (image, text) = combiner(start="random").eval(), features()
    t, r = text.pooled, image.pooled
    raw = torch.cat((c.project_text(t).relu(), c.project_image(r).relu()), -1)
    gate = c.gate_output(c.gate_hidden(raw).relu()).sigmoid()
    expected = c.output(c.combine(raw).relu()) + gate * t + (1 - gate) * r
    assert torch.allclose(c(image, text), normalize(expected, dim=-1), atol=1e-6)
    assert not torch.allclose(gate, torch.full_like(gate, 0.5), atol=1e-3)


def test_published_size():
    composer = Combiner(2560, 5120, 0.5, "random")
    with torch.device("meta"):
        composer.build(512)
    assert round(sum(p.numel() for p in composer.parameters()) / 1e6, 1) == 57.7


def test_the_combiner_learns(features):
    """Queries that no convex sum reaches: the target is a rotation of the text."""
    image, text = features(rows=64)
    goal = normalize(text.pooled.roll(1, dims=1), dim=1)
    composer = combiner(dropout=0.0)
    optimizer = torch.optim.Adam(composer.parameters(), lr=1e-2)
    for _ in range(150):
        loss = (1 - (composer(image, text) * goal).sum(1)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1


@pytest.mark.parametrize(("option", "value"), [("start", "zero"), ("projection", 0), ("dropout", 1.0)])
def test_a_wrong_value_is_named(option, value):
    with pytest.raises(ValueError, match=option):
        Combiner(**{option: value})


def test_one_that_is_not_built_says_so(features):
    with pytest.raises(UserError, match="build"):
        Combiner()(*features())
