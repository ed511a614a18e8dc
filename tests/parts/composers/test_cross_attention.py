"""What the text reads in the picture: who asks, and how little it counts at first."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn.functional import normalize

from clplat.models.view import Towers
from clplat.parts.composers.cross_attention import CrossAttention
from clplat.testing import ComposerContract, tiny_backbone
from clplat.testing.towers import features

TOWERS = Towers(tiny_backbone())


class TestCrossAttention(ComposerContract):
    """Of a narrow one, whose words ask."""

    def make(self) -> CrossAttention:
        return CrossAttention(asks="words", base="sum", width=8, depth=1, heads=2)


IMAGE, TEXT = features(tiny_backbone(), rows=3)


def attached(**options: Any) -> CrossAttention:
    torch.manual_seed(0)
    composer = CrossAttention(**{"width": 8, "depth": 1, "heads": 2, **options})
    composer.attach(TOWERS)
    return composer.eval()


def test_denseclip_adds_what_the_pooled_text_reads_by_a_number_for_each_dimension() -> None:
    composer = attached(opened=0.5)
    with torch.no_grad():
        composer.gate.mul_(torch.linspace(0, 2, 24))
    read = composer.decoder(TEXT.pooled[:, None], TOWERS.joint_patches(IMAGE.tokens))[:, 0]
    expected = TEXT.pooled + 0.5 * torch.linspace(0, 2, 24) * read
    assert torch.allclose(composer(IMAGE, TEXT), expected, atol=1e-6)
    start = CrossAttention()
    assert start.opened == 1e-4, "near the text alone"


def test_clipter_is_off_at_first_and_opens_by_a_tanh() -> None:
    composer = attached(asks="words", base="sum", gate="tanh", opened=0.0)
    both = normalize(IMAGE.pooled, dim=1) + normalize(TEXT.pooled, dim=1)
    assert torch.equal(composer(IMAGE, TEXT), both)
    with torch.no_grad():
        composer.gate.fill_(0.7)
    words, ends = TOWERS.joint_words(TEXT.tokens), TEXT.ends.tolist()
    for row, end in enumerate(ends):  # of each text alone, up to its EOT
        some = words[row : row + 1, : end + 1], TOWERS.joint_patches(IMAGE.tokens[row : row + 1])
        read = composer.decoder(*some)[0, end]
        expected = both[row] + torch.tanh(torch.tensor(0.7)) * read
        assert torch.allclose(composer(IMAGE, TEXT)[row], expected, atol=1e-5)


def test_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match="asks is 'picture'; allowed: text, words"):
        CrossAttention(asks="picture")  # type: ignore[arg-type]
