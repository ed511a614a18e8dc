"""Longer texts: length, mask and positions together, short ones as before, what is trained."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from clplat.errors import UserError
from clplat.parts.adapters.long_text import LongText
from clplat.testing import AdapterContract, tiny_backbone
from clplat.testing.towers import attached, train_a_little

LONG = "a small red square beside a large green one and two blue ones on a white ground"


class TestLongText(AdapterContract):
    def make(self) -> LongText:
        return LongText(keep=8)


def test_length_mask_and_positions_change_together() -> None:
    backbone: Any = tiny_backbone()
    assert backbone.truncated([LONG]) == [0] and backbone.tokenize([LONG]).shape == (1, 12)
    attached(LongText(keep=8), backbone)
    assert backbone.truncated([LONG]) == [] and backbone.tokenize([LONG]).shape == (1, 24)
    assert backbone.model.attn_mask.shape == (24, 24) and backbone.context_length == 24
    assert torch.equal(backbone.model.attn_mask == 0, torch.ones(24, 24).tril().bool())
    ends = [backbone.text(backbone.tokenize([LONG[:n]])).pooled for n in (40, len(LONG))]
    assert not torch.equal(*ends), "words beyond the twelfth token are read"


def test_short_texts_are_embedded_as_before_and_longer_ones_are_not() -> None:
    """Of ``keep`` tokens and fewer, also after training moved the residual: the drop-in check."""
    plain, longer = tiny_backbone(), tiny_backbone()
    attached(LongText(keep=8), longer)
    with torch.no_grad():
        longer.get_parameter("model.longer.residuals.default").normal_()
    short, middle = ["a red shoe", "make it blue and round please"], ["a b c d e f g h i"]
    for texts, same in ((short, True), (middle, False)):
        found = [b.text(b.tokenize(texts)).pooled for b in (plain, longer)]
        assert torch.equal(*found) == same


def test_positions_that_were_there_stay_frozen() -> None:
    backbone = tiny_backbone()
    names = attached(LongText(keep=4), backbone)
    before = backbone.model.positional_embedding.clone()
    train_a_little(backbone)
    assert torch.equal(backbone.model.positional_embedding, before)
    assert "model.positional_embedding" not in names and "model.longer.residuals.default" in names
    residual = backbone.get_parameter("model.longer.residuals.default")
    assert bool(residual[:4].any()) and not bool(residual[-4:].any()), "what no text reached"


def test_what_it_refuses() -> None:
    with pytest.raises(UserError, match=r"texts of 12 tokens; adapter.keep must be at most 10, not 20"):
        attached(LongText(), tiny_backbone())
    with pytest.raises(UserError, match="cannot be merged"):
        LongText().merge(tiny_backbone())
    for options in ({"keep": 0}, {"factor": 0}, {"towers": "all"}):
        with pytest.raises(ValueError, match=r"at least 1|allowed"):
            LongText(**options)  # type: ignore[arg-type]
