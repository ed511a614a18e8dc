"""Embeddings without what their whole side shares: a mean, correlations, dimensions that are out of line."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize

from clplat.config.space import Choice, Float
from clplat.mechanisms.bank_moments import covariance, outlier_dimensions, whitening
from clplat.parts.postprocessors._base import Banks, PostProcessor, Scored

__all__ = ["Standardised"]

#: Rows in float64 at once.
_BLOCK = 1 << 12


class Standardised(PostProcessor):
    """Ranks by cosines of ``(x - mean) W`` without outlier dimensions, all known from the banks.

    The steps, each of which may be left out: dimensions whose mean over both banks is out of line are zeros
    in queries and gallery alike; the mean of the own side is taken off, that of words from gallery rows of
    words and half of each from rows that are both; W undoes the correlations that are left. Rows of a
    version that has no bank stay as they are, and so do their queries.

    Args:
        centre: the mean of each ``side``, the mean of ``both`` in equal shares, or ``none``.
        whiten: by the covariance of each ``side``, of ``both`` in equal shares, or not.
        ridge: of the whitening, in units of the mean eigenvalue.
        outliers: standard deviations of a dimension's mean from that of the others; 0 keeps all.

    Raises:
        ValueError: a setting out of range, or none that does something.

    References:
        Li et al., "Closing the Modality Gap for Mixed Modality Search", arXiv:2507.19054 (means).
        Betser et al., "Whitened CLIP as a Likelihood Surrogate of Images and Captions", arXiv:2505.06934. Luo
        et al., "Positional Artefacts Propagate Through Masked Language Model Embeddings", ACL 2021,
        arXiv:2011.04393 (outliers).

    Example:
        >>> part = Standardised()
        >>> part.fit(Banks(torch.tensor([[0.6, 0.8]]), torch.tensor([[0.8, -0.6]])))
        >>> part.map(Scored(torch.tensor([[1.0, 0.0]])), Scored(torch.tensor([[1.0, 0.0]])))
        (tensor([[ 0.4472, -0.8944]]), tensor([[0.3162, 0.9487]]))
    """

    maps: ClassVar[bool] = True

    def __init__(
        self,
        centre: Annotated[Literal["none", "side", "both"], Choice("side", "both")] = "side",
        whiten: Annotated[Literal["none", "side", "both"], Choice("none", "both")] = "none",
        ridge: Annotated[float, Float(0.01, 10.0, log=True)] = 0.1,
        outliers: float = 0.0,
    ) -> None:
        for name, value in (("centre", centre), ("whiten", whiten)):
            if value not in ("none", "side", "both"):
                raise ValueError(f"{name} must be 'none', 'side' or 'both', not '{value}'")
        if not (0 < ridge < float("inf") and 0 <= outliers < float("inf")):
            raise ValueError(f"ridge must be above 0 and outliers at least 0, not {ridge} and {outliers}")
        if (centre, whiten, outliers) == ("none", "none", 0.0):
            raise ValueError("with neither centre nor whiten nor outliers nothing is done")
        self.centre, self.whiten, self.ridge, self.outliers = centre, whiten, ridge, outliers
        self._fitted = False

    def fit(self, banks: Banks) -> None:
        """Take the statistics of each side."""
        self._fitted = bool(len(banks.pictures))
        if not self._fitted:
            return
        words = banks.pictures if banks.texts is None else banks.texts
        sides = [normalize(rows.double(), dim=1) for rows in (banks.queries, banks.pictures, words)]
        pooled = (sides[0].mean(0) + sides[1].mean(0)) / 2
        out = outlier_dimensions(pooled, self.outliers) if self.outliers else torch.zeros_like(pooled).bool()
        self._keep = (~out).double()
        kept = [rows * self._keep for rows in sides]
        self._means, self._maps = self._centres(kept), self._whitenings(kept)

    def _centres(self, sides: list[Tensor]) -> list[Tensor]:
        """Of queries, of pictures and of words."""
        means = [rows.mean(0) for rows in sides]
        if self.centre == "none":
            return [torch.zeros_like(mean) for mean in means]
        return means if self.centre == "side" else [(means[0] + means[1]) / 2] * 3

    def _whitenings(self, sides: list[Tensor]) -> list[Tensor] | None:
        if self.whiten == "none":
            return None
        found = [covariance(rows) for rows in sides[:2]]
        if self.whiten == "both":
            found = [(found[0] + found[1]) / 2] * 2
        return [whitening(matrix, self.ridge) for matrix in found]

    def map(self, queries: Scored, gallery: Scored) -> tuple[Tensor, Tensor]:
        """Unit rows (Q, D) and (G, D)."""
        if not self._fitted:
            return queries.rows.float(), gallery.rows.float()
        return self._moved(queries, 0), self._moved(gallery, 1)

    def _moved(self, side: Scored, which: int) -> Tensor:
        words = torch.zeros(len(side.rows)) if side.words is None else side.words
        found = []
        for rows, share in zip(torch.split(side.rows, _BLOCK), torch.split(words, _BLOCK), strict=True):
            x = normalize(rows.double(), dim=1) * self._keep - self._means[which]
            if which == 1:
                x = x - share.double()[:, None] * (self._means[2] - self._means[1])
            found.append(normalize(x if self._maps is None else x @ self._maps[which], dim=1).float())
        return torch.cat(found)
