"""What picture and text have in common, in place of their sum."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize

from clplat.config.space import Choice, Float
from clplat.models.features import ImageFeatures, TextFeatures
from clplat.parts.composers._base import Composer

__all__ = ["Intersection"]


class Intersection(Composer):
    """Keeps of picture and text the dimensions in which both point the same way. No parameters.

    With r and t of unit length and n = division by the L2 norm, ``c_k = 0`` where r_k and t_k differ in sign,
    else ``sign(r_k) min(|r_k|, |t_k|)`` or the geometric mean ``sign(r_k) sqrt(r_k t_k)``; then
    ``q = n(w n(c) + (1 - w) n(r + t))``: between the union of both, a sum, and what they share.

    Args:
        form: how two numbers of one sign become one.
        weight: w.

    Raises:
        ValueError: a weight outside [0, 1], another form.

    Reference:
        "SETR: A Two-Stage Semantic-Enhanced Framework for Zero-Shot Composed Image Retrieval", whose operator
        is not known: these are members of the family.

    Example:
        >>> Intersection(weight=1.0)(torch.tensor([[0.6, 0.8]]), torch.tensor([[0.8, -0.6]]))
        tensor([[1., 0.]])
    """

    def __init__(
        self,
        form: Annotated[Literal["minimum", "geometric"], Choice("minimum", "geometric")] = "minimum",
        weight: Annotated[float, Float(0.0, 1.0)] = 0.5,
    ) -> None:
        super().__init__()
        if form not in ("minimum", "geometric"):
            raise ValueError(f"form is '{form}'; allowed: minimum, geometric")
        if not 0.0 <= weight <= 1.0:
            raise ValueError(f"weight must lie in [0, 1], not {weight}")
        self.form, self.weight = form, weight

    def forward(self, image: ImageFeatures, text: TextFeatures) -> Tensor:
        """Return (B, D) unit rows."""
        r, t = normalize(image.pooled, dim=-1), normalize(text.pooled, dim=-1)
        agree = r * t > 0
        if self.form == "minimum":
            size = torch.minimum(r.abs(), t.abs())
        else:  # the root of zero has no gradient
            size = torch.where(agree, r * t, 1.0).sqrt()
        common = torch.where(agree, torch.sign(r) * size, 0.0)
        return normalize(
            self.weight * normalize(common, dim=-1) + (1.0 - self.weight) * normalize(r + t, dim=-1), dim=-1
        )
