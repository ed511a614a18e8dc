"""The reference picture alone: a baseline that shows what the modification text is worth."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor
from torch.nn.functional import normalize

from clplat.models.features import ImageFeatures, TextFeatures
from clplat.parts.composers._base import Composer

__all__ = ["ImageOnly"]


class ImageOnly(Composer):
    """The query is the reference picture: ``q = n(r)``, n = division by the L2 norm. No parameters.

    A strategy that does not beat this baseline and `TextOnly` has learnt nothing about composition.

    Example:
        >>> import torch
        >>> image, text = ImageFeatures(torch.tensor([[3.0, 4.0]])), TextFeatures(torch.tensor([[1.0, 0.0]]))
        >>> ImageOnly()(image, text)
        tensor([[0.6000, 0.8000]])
    """

    reads: ClassVar[frozenset[str]] = frozenset({"image"})

    def forward(self, image: ImageFeatures, text: TextFeatures) -> Tensor:
        """Return (B, D) unit rows."""
        return normalize(image.pooled, dim=-1)
