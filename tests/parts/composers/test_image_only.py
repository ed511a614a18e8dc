"""The picture alone."""

from __future__ import annotations

import torch
from torch.nn.functional import normalize

from clplat.parts.composers.image_only import ImageOnly


def test_it_is_the_pictures_unit_row(features):
    image, text = features()
    assert torch.equal(ImageOnly()(image, text), normalize(image.pooled, dim=1))
