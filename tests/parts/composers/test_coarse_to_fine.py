"""R^2-Tuning by hand, of patches and of what is kept; padding is no word."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from clplat.models.view import Towers
from clplat.parts.composers.coarse_to_fine import CoarseToFine
from clplat.randomness import generator, seeded
from clplat.testing import ComposerContract, tiny_backbone
from clplat.testing.towers import features


class TestOfPatches(ComposerContract):
    def make(self) -> CoarseToFine:
        return CoarseToFine("patches", width=8, heads=2, dropout=0.0)


class TestOfStates(ComposerContract):
    def make(self) -> CoarseToFine:
        return CoarseToFine("states", width=8, heads=2, dropout=0.0)


def drawn(reads: Any) -> Any:
    composer = CoarseToFine(reads, last=2, width=8, heads=2)
    with seeded(0, "coarse"):
        composer.attach(Towers(tiny_backbone()))
    draw = generator(0, "coarse")
    for parameter in composer.parameters():
        parameter.data = 0.5 * torch.randn(parameter.shape, generator=draw)
    return composer.double().eval()


@pytest.mark.parametrize("reads", ["states", "patches"])
def test_the_formula_by_hand(reads: str) -> None:
    composer = drawn(reads)
    image, text = features(tiny_backbone(), rows=3)
    query = composer(image, text)
    assert text.ends is not None and image.states is not None and text.states is not None
    for b in range(3):
        h: Tensor | None = None
        for step, layer in enumerate((1, 0)):
            if reads == "patches":
                shown, said = image.hidden[layer][b], text.hidden[layer][b, : int(text.ends[b]) + 1]
            else:
                shown, said = image.states[b, layer][None], text.states[b, layer][None]
            v, t = composer.picture_map(shown.double()), composer.query_map(said.double())
            o = []
            for word in t:
                if reads == "patches":
                    scores = composer.shown(v) @ composer.asked(word) / 8**0.5
                    shares = scores.exp() / scores.exp().sum()
                else:
                    shares = torch.ones(1, dtype=torch.float64)
                o.append(sum(share * row for share, row in zip(shares, v, strict=True)) + word)
            z = v[0] + torch.tanh(composer.scales[step]) * torch.stack(o).max(dim=0).values
            if h is not None:
                g = torch.sigmoid(composer.steps.weights[step - 1])
                z = g * h + (1 - g) * z
            if reads == "states":
                t = composer.query_map(text.states[b, [1, 0]].double())
            h = composer.steps.blocks[0](z[None, None], t[None])[0, 0]
        assert h is not None
        own = normalize(image.pooled[b], dim=0) + normalize(text.pooled[b], dim=0)
        expected = own + composer.out(h)
        torch.testing.assert_close(query[b], expected, rtol=1e-9, atol=1e-9)


def test_padding_is_no_word() -> None:
    """In the public code the maximum runs over padded words as well."""
    composer = drawn("patches")
    image, text = features(tiny_backbone(), rows=3)
    before = composer(image, text)
    assert text.ends is not None
    for hidden in text.hidden:
        for b in range(3):
            hidden[b, int(text.ends[b]) + 1 :] = 100.0
    torch.testing.assert_close(composer(image, text), before)


def test_it_starts_as_the_sum_and_what_it_refuses() -> None:
    composer = CoarseToFine(width=8)
    composer.attach(Towers(tiny_backbone()))
    image, text = features(tiny_backbone(), rows=2)
    expected = normalize(image.pooled, dim=-1) + normalize(text.pooled, dim=-1)
    torch.testing.assert_close(composer.eval()(image, text), expected)
    for wrong in ({"reads": "left"}, {"last": 0}, {"dropout": 1.0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            CoarseToFine(**wrong)  # type: ignore[arg-type]
