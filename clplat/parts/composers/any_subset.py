"""A composer that answers to a picture, a text or both: what is missing has a learnt vector."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import torch
from torch import Tensor, nn

from clplat.config.space import Float
from clplat.models.features import ImageFeatures, TextFeatures
from clplat.models.view import Towers
from clplat.parts.composers._around import Around
from clplat.parts.composers._base import Composer
from clplat.parts.composers.combiner import Combiner

__all__ = ["AnySubset"]


class AnySubset(Around):
    """Puts learnt vectors in the place of a missing picture or text of another composer, and leaves some out.

    In training a share of the queries loses its picture and the same share its text, never both. The gallery
    knows no query: a candidate is what the inner composer makes of it, or its picture composed with no text.

    Args:
        inner: what fuses, one of pooled features; `Combiner` unless given.
        missing: share of training queries that lose their picture, and of those that lose their text.
        target: candidates go through the inner composer too; otherwise they are its targets.

    Raises:
        ValueError: a share outside [0, 0.5], an inner composer that reads more than pooled features.

    What is trained: two vectors, zero at first, and what of ``inner`` is.

    Reference:
        "MetaFind: Scene-Aware 3D Asset Retrieval for Coherent Metaverse Scene Generation", 2025, whose
        queries are any subset of text, picture and shape.

    Example:
        >>> composer = AnySubset()
        >>> composer.build(2)
        >>> composer.eval().without_text(torch.tensor([[3.0, 4.0]])).detach()
        tensor([[0.6000, 0.8000]])
    """

    def __init__(
        self,
        inner: Composer | None = None,
        missing: Annotated[float, Float(0.0, 0.3)] = 0.1,
        target: bool = False,
    ) -> None:
        super().__init__(Combiner() if inner is None else inner)
        if not 0.0 <= missing <= 0.5:
            raise ValueError(f"missing must lie in [0, 0.5], not {missing}")
        self.needs_pooled()
        self.missing, self.also_target = missing, target

    def attach(self, towers: Towers) -> None:
        super().attach(towers)
        self._vectors(towers.joint)

    def build(self, embed_dim: int) -> None:
        """As `attach`, where the width of the joint space is all that is known."""
        made: nn.Module = self.inner
        made.build(embed_dim)  # type: ignore[operator]
        self._vectors(embed_dim)

    def _vectors(self, width: int) -> None:
        self.no_image, self.no_text = (nn.Parameter(torch.zeros(width)) for _ in range(2))

    def forward(self, image: ImageFeatures, text: TextFeatures) -> Tensor:
        """Return the inner composer's (B, D)."""
        shown, said = image.pooled, text.pooled
        if self.training and self.missing:
            draw = torch.rand(len(shown), 1, device=shown.device)
            shown = torch.where(draw < self.missing, self.no_image, shown)
            said = torch.where(draw > 1.0 - self.missing, self.no_text, said)
        query: Tensor = self.inner(replace(image, pooled=shown), replace(text, pooled=said))
        return query

    def without_text(self, shown: Tensor) -> Tensor:
        """What pictures alone become (B, D)."""
        nothing = TextFeatures(pooled=self.no_text.expand(len(shown), -1))
        query: Tensor = self.inner(ImageFeatures(pooled=shown), nothing)
        return query

    def target(self, image: ImageFeatures) -> Tensor:
        return self.without_text(image.pooled) if self.also_target else self.inner.target(image)
