"""The contract of a composer: reference features and text features in, a query embedding out."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from clplat.models.features import ImageFeatures, TextFeatures

__all__ = ["Composer"]


class Composer(nn.Module):
    """Maps the features of the reference picture and of the modification text to the query.

    The constructor is the configuration. `build` makes the layers once the width of the joint space is
    known; a composer without parameters does not need it. A composer knows no data set.
    """

    #: Features that it reads: ``"pooled"`` always; ``"tokens"`` for patch and word tokens.
    needs: ClassVar[frozenset[str]] = frozenset({"pooled"})
    #: Inputs that reach the query. A tower that nothing reads is left frozen: it would get no gradient.
    reads: ClassVar[frozenset[str]] = frozenset({"image", "text"})

    def build(self, embed_dim: int) -> None:
        """Create the layers for a joint space of ``embed_dim`` dimensions."""

    def forward(self, image: ImageFeatures, text: TextFeatures) -> Tensor:
        """Return the query (B, D) in the gallery's space; the retriever normalises it."""
        raise NotImplementedError
