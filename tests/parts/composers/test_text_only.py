"""The text alone."""

from __future__ import annotations

import torch
from torch.nn.functional import normalize

from clplat.parts.composers.text_only import TextOnly


def test_it_is_the_texts_unit_row(features):
    image, text = features()
    assert torch.equal(TextOnly()(image, text), normalize(text.pooled, dim=1))
