"""The weighted sum of picture and text."""

from __future__ import annotations

from typing import Annotated

from torch import Tensor
from torch.nn.functional import normalize

from clplat.config.space import Float
from clplat.models.features import ImageFeatures, TextFeatures
from clplat.parts.composers._base import Composer

__all__ = ["Sum"]


class Sum(Composer):
    """The weighted sum of reference and text, ``q = n((1 - w) n(r) + w n(t))``. No parameters.

    n is division by the L2 norm. With ``normalise=False`` the features enter as the towers give them,
    ``q = n((1 - w) r + w t)``: at w = 0.5 this is the direction of CLIP4Cir's element-wise sum, under which
    that system fine-tunes CLIP.

    Args:
        weight: share w of the text, from 0 (`ImageOnly`) to 1 (`TextOnly`).
        normalise: give both features unit length first.

    Raises:
        ValueError: the weight is not between 0 and 1.

    Reference:
        Baldrati et al., "Composed Image Retrieval using Contrastive Learning and Task-oriented CLIP-based
        Features", ACM TOMM 2023, arXiv:2308.11485.

    Example:
        >>> import torch
        >>> image = ImageFeatures(pooled=torch.tensor([[5.0, 0.0]]))
        >>> text = TextFeatures(pooled=torch.tensor([[0.0, 1.0]]))
        >>> Sum(weight=0.5)(image, text)
        tensor([[0.7071, 0.7071]])
    """

    def __init__(self, weight: Annotated[float, Float(0.0, 1.0)] = 0.5, normalise: bool = True) -> None:
        super().__init__()
        if not 0.0 <= weight <= 1.0:
            raise ValueError(f"the text share 'weight' must lie in [0, 1], not {weight}")
        self.weight = weight
        self.normalise = normalise

    def forward(self, image: ImageFeatures, text: TextFeatures) -> Tensor:
        """Return (B, D) unit rows."""
        r, t = image.pooled, text.pooled
        if self.normalise:
            r, t = normalize(r, dim=-1), normalize(t, dim=-1)
        return normalize((1.0 - self.weight) * r + self.weight * t, dim=-1)
