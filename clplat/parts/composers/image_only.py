"""The reference picture alone: a baseline that shows what the modification text is worth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor
from torch.nn.functional import normalize

from clplat.models.features import NOTHING, POOLED, ImageFeatures, TextFeatures
from clplat.parts.composers._base import Composer

__all__ = ["ImageOnly"]


class ImageOnly(Composer):
    """The query is the reference picture: ``q = n(r)``, n = division by the L2 norm. No parameters.

    A strategy that does not beat this baseline and `TextOnly` has learnt nothing about composition.

    Example:
        >>> import torch
        >>> image = ImageFeatures(pooled=torch.tensor([[3.0, 4.0]]))
        >>> text = TextFeatures(pooled=torch.tensor([[1.0, 0.0]]))
        >>> ImageOnly()(image, text)
        tensor([[0.6000, 0.8000]])
    """

    wants: ClassVar[Mapping[str, frozenset[str]]] = {"image": POOLED, "text": NOTHING}
    blind: ClassVar[bool] = True

    def forward(self, image: ImageFeatures, text: TextFeatures) -> Tensor:
        """Return (B, D) unit rows."""
        return normalize(image.pooled, dim=-1)
