"""Spherical interpolation between picture and text."""

from __future__ import annotations

from typing import Annotated

from torch import Tensor

from clplat.config.space import Float
from clplat.mechanisms.directions import arc
from clplat.models.features import ImageFeatures, TextFeatures
from clplat.parts.composers._base import Composer

__all__ = ["Slerp"]


class Slerp(Composer):
    """Walk the share ``alpha`` of the great arc from the reference to the text. No parameters.

    ``q = sin((1 - a) th) / sin(th) n(r) + sin(a th) / sin(th) n(t)``, th = the angle between r and t and
    n = division by the L2 norm; linear interpolation where the cosine exceeds 0.9995 in size. The angle to
    the reference grows evenly with alpha, which the weighted sum does not offer.

    Args:
        alpha: share of the text, from 0 (`ImageOnly`) to 1 (`TextOnly`).

    Raises:
        ValueError: alpha is not between 0 and 1.

    Reference:
        Jang et al., "Spherical Linear Interpolation and Text-Anchoring for Zero-shot Composed Image
        Retrieval", ECCV 2024, arXiv:2405.00571.

    Example:
        >>> import torch
        >>> image = ImageFeatures(pooled=torch.tensor([[2.0, 0.0]]))
        >>> text = TextFeatures(pooled=torch.tensor([[0.0, 3.0]]))
        >>> Slerp(alpha=1 / 3)(image, text)
        tensor([[0.8660, 0.5000]])
    """

    def __init__(self, alpha: Annotated[float, Float(0.0, 1.0)] = 0.5) -> None:
        super().__init__()
        if not 0.0 <= alpha <= 1.0:
            raise ValueError(f"the text share 'alpha' must lie in [0, 1], not {alpha}")
        self.alpha = alpha

    def forward(self, image: ImageFeatures, text: TextFeatures) -> Tensor:
        """Return (B, D) unit rows."""
        return arc(image.pooled, text.pooled, self.alpha)
