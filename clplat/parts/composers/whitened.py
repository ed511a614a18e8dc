"""Another composer on features that are centred by modality, without common directions, and whitened."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import torch
from torch import Tensor
from torch.nn.functional import normalize

from clplat.config.space import Float, Int
from clplat.mechanisms.directions import whitening
from clplat.models.features import POOLED, ImageFeatures, TextFeatures
from clplat.models.view import Towers
from clplat.parts.composers._around import Around
from clplat.parts.composers._base import Composer

__all__ = ["Whitened"]


class Whitened(Around):
    """Takes out of all features what training data have in common before another composer sees them.

    ``x -> W (n(x) - m)`` with n = division by the L2 norm, m the mean of training pictures or of training
    texts and W what evens out the variances of both together, without the ``common`` leading directions
    (`clplat.mechanisms.directions.whitening`). Candidates go the same way. The untrained model has m = 0 and
    W = I.

    Args:
        inner: what composes.
        power: 0 leaves variances as they are, 1 makes them equal.
        common: directions that are taken out.
        centre: take the means out.

    Raises:
        ValueError: a power outside [0, 1], a negative number of directions.

    What is trained: what of ``inner`` is; m and W are fitted after every experience.

    Reference:
        Liang et al., "Mind the Gap: Understanding the Modality Gap in Multi-modal Contrastive Representation
        Learning", NeurIPS 2022, arXiv:2203.02053 (the means); Mu and Viswanath, "All-but-the-Top", ICLR 2018,
        arXiv:1702.01417 (common directions).

    Example:
        >>> composer = Whitened()
        >>> composer.make(width=2)
        >>> composer(torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, 4.0]]))
        tensor([[0.7071, 0.7071]])
    """

    image_mean: Tensor
    text_mean: Tensor
    matrix: Tensor

    def __init__(
        self,
        inner: Composer | None = None,
        power: Annotated[float, Float(0.0, 1.0)] = 0.5,
        common: Annotated[int, Int(0, 8)] = 0,
        centre: bool = True,
    ) -> None:
        super().__init__(inner, image=POOLED, text=POOLED)
        if not 0.0 <= power <= 1.0:
            raise ValueError(f"power must lie in [0, 1], not {power}")
        if common < 0:
            raise ValueError(f"common must be at least 0, not {common}")
        self.power, self.common, self.centre = power, common, centre
        self.fits = True

    def attach(self, towers: Towers) -> None:
        super().attach(towers)
        self.make(towers.joint)

    def make(self, width: int) -> None:
        """Statistics of nothing, for a joint space of ``width`` dimensions."""
        for name in ("image_mean", "text_mean"):
            self.register_buffer(name, torch.zeros(width))
        self.register_buffer("matrix", torch.eye(width))

    def fit(self, image: Tensor, text: Tensor, target: Tensor) -> None:
        shown, said = normalize(torch.cat([image, target]), dim=-1), normalize(text, dim=-1)
        if self.centre:
            self.image_mean.copy_(shown.mean(0))
            self.text_mean.copy_(said.mean(0))
        rows = torch.cat([shown - shown.mean(0), said - said.mean(0)])
        self.matrix.copy_(whitening(rows, self.power, min(self.common, rows.shape[1] - 1)))
        self.inner.fit(self._shown(image), self._said(text), self._shown(target))

    def forward(self, image: ImageFeatures, text: TextFeatures) -> Tensor:
        shown = replace(image, pooled=self._shown(image.pooled))
        query: Tensor = self.inner(shown, replace(text, pooled=self._said(text.pooled)))
        return query

    def target(self, image: ImageFeatures) -> Tensor:
        return self.inner.target(replace(image, pooled=self._shown(image.pooled)))

    def _shown(self, pooled: Tensor) -> Tensor:
        return (normalize(pooled, dim=-1) - self.image_mean) @ self.matrix

    def _said(self, pooled: Tensor) -> Tensor:
        return (normalize(pooled, dim=-1) - self.text_mean) @ self.matrix
