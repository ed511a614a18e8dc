"""The contract of a projection: embeddings of one model version in, embeddings of another version out."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

__all__ = ["Projection"]


class Projection(nn.Module):
    """Maps new embeddings into an old model's space, so that new queries can search the old index.

    The constructor is the configuration. `fit` learns from paired embeddings of the same *training* pictures
    (never of the gallery that is evaluated); `forward` maps and returns unit vectors.
    """

    #: It learns from pairs. False for a fixed map, which is usable at once and needs no anchors.
    fitted: ClassVar[bool] = True

    def fit(self, new: Tensor, old: Tensor) -> None:
        """Learn from N pairs: ``new`` (N, D_new), ``old`` (N, D_old), unit rows of the same pictures."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, D_new) to unit vectors (B, D_old)."""
        raise NotImplementedError
