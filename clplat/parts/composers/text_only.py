"""The modification text alone: a baseline that shows what the reference picture is worth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor
from torch.nn.functional import normalize

from clplat.models.features import NOTHING, POOLED, ImageFeatures, TextFeatures
from clplat.parts.composers._base import Composer

__all__ = ["TextOnly"]


class TextOnly(Composer):
    """The query is the modification text: ``q = n(t)``, n = division by the L2 norm. No parameters.

    On CIRR this baseline beats the plain sum, so one baseline alone misleads: show it beside `ImageOnly`.

    Example:
        >>> import torch
        >>> image = ImageFeatures(pooled=torch.tensor([[3.0, 4.0]]))
        >>> text = TextFeatures(pooled=torch.tensor([[2.0, 0.0]]))
        >>> TextOnly()(image, text)
        tensor([[1., 0.]])
    """

    wants: ClassVar[Mapping[str, frozenset[str]]] = {"image": NOTHING, "text": POOLED}

    def forward(self, image: ImageFeatures, text: TextFeatures) -> Tensor:
        """Return (B, D) unit rows."""
        return normalize(text.pooled, dim=-1)
