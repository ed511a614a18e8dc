"""Guidance without a classifier: how much the picture and the text each say, against saying nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import torch
from torch import Tensor

from clplat.config.space import Float
from clplat.models.features import ImageFeatures, TextFeatures
from clplat.parts.composers._around import Around
from clplat.parts.composers._base import Composer
from clplat.parts.composers.direction import unsaid

__all__ = ["Guided"]


class Guided(Around):
    """Weighs what the picture says and what the text says beside it in another composer's query.

    With F the inner composer, 0 a picture of zeros and "" the empty text:
    ``q = F(0, "") + w_I (F(r, "") - F(0, "")) + w_T (F(r, t) - F(r, ""))``. At w_I = w_T = 1 this is F.

    In training F sees a share of the queries without their text, and the same share without either, so that
    it learns what nothing says; weights count in evaluation only.

    Args:
        inner: F, one of pooled features.
        image: w_I.
        text: w_T.
        missing: share of training queries that lack the text, and of those that lack both.

    Raises:
        ValueError: a weight that is no number of at least 0, a share outside [0, 0.5], an inner composer that
            reads more than pooled features.

    What is trained: what of ``inner`` is.

    Reference:
        Gu et al., "CompoDiff: Versatile Composed Image Retrieval With Latent Diffusion", TMLR 2024,
        arXiv:2303.11916, whose denoiser is guided so at every step.

    Example:
        >>> from clplat.models.view import Towers
        >>> from clplat.testing.tiny import tiny_backbone
        >>> composer = Guided(text=1.0).eval()
        >>> composer.attach(Towers(tiny_backbone()))
        >>> image, text = torch.ones(2, 24), torch.arange(48.0).view(2, 24)
        >>> torch.allclose(composer(image, text), composer.inner(image, text), atol=1e-6)
        True
    """

    def __init__(
        self,
        inner: Composer | None = None,
        image: Annotated[float, Float(0.0, 4.0)] = 1.0,
        text: Annotated[float, Float(0.0, 8.0)] = 1.5,
        missing: Annotated[float, Float(0.0, 0.3)] = 0.1,
    ) -> None:
        super().__init__(inner)
        if not (0.0 <= image < float("inf") and 0.0 <= text < float("inf")):
            raise ValueError(f"image and text must be numbers of at least 0, not {image} and {text}")
        if not 0.0 <= missing <= 0.5:
            raise ValueError(f"missing must lie in [0, 0.5], not {missing}")
        self.needs_pooled()
        self.image, self.text, self.missing = image, text, missing

    def forward(self, image: ImageFeatures, text: TextFeatures) -> Tensor:
        """Return (B, D), not normalised."""
        nothing = unsaid(self.towers, self.wants["text"], len(image.pooled))
        if self.training:
            draw = torch.rand(len(image.pooled), 1, device=image.pooled.device)
            said = torch.where(draw < 2 * self.missing, nothing.pooled, text.pooled)
            shown = torch.where(draw < self.missing, 0.0, image.pooled)
            query: Tensor = self.inner(replace(image, pooled=shown), replace(text, pooled=said))
            return query
        blank = replace(image, pooled=torch.zeros_like(image.pooled))
        neither, alone = self.inner(blank, nothing), self.inner(image, nothing)
        guided: Tensor = (
            neither + self.image * (alone - neither) + self.text * (self.inner(image, text) - alone)
        )
        return guided
