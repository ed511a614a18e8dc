"""The contract of a projection: embeddings of one model version in, embeddings of another version out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal, Protocol

from torch import Tensor, nn

__all__ = ["Pairs", "Projection"]


class Pairs(Protocol):
    """The same training data by two versions of a model; nothing is embedded until it is asked for.

    Attributes:
        keys: of the N training pictures.
        domains: of each; labels: what it shows, empty where that is not known.
    """

    keys: Sequence[str]
    domains: Sequence[str]
    labels: Sequence[str]

    def pictures(self, space: Literal["stored", "pooled"] = "stored") -> tuple[Tensor, Tensor]:
        """(N, D_new) by the new version and (N, D_old) by the old one, row by row the same pictures.

        ``stored``: unit rows as a gallery holds them; ``pooled``: as the tower gives them, without head.
        """
        ...

    def texts(self) -> tuple[Tensor, Tensor]:
        """The same of M training texts, unit rows."""
        ...

    def queries(self) -> tuple[Tensor, Tensor]:
        """The same of M composed training queries, unit rows."""
        ...

    def side(self, encoder: str = "base") -> Tensor:
        """(N, D) of the pictures by an encoder that never changes; ``base`` is the untrained model."""
        ...


class Projection(nn.Module):
    """Maps embeddings of one version into another version's space, so that they can be compared.

    The constructor is the configuration. `learn` learns from *training* data that both versions embedded
    (never from the gallery that is evaluated); `forward` maps and returns unit vectors. One that learns from
    pictures alone overrides `fit`.
    """

    #: It learns from pairs. False for a fixed map, which is usable at once and needs no anchors.
    fitted: ClassVar[bool] = True
    #: ``query``: new queries go to the old index; ``gallery``: stored old vectors come to the new space.
    maps: Literal["query", "gallery"] = "query"
    #: What may lie between the two spaces: any ``rotation``, or a ``shift`` that all rows have in common.
    undoes: ClassVar[Literal["rotation", "shift"]] = "rotation"
    #: What `learn` asks the old version for: ``pictures``, ``pooled``, ``texts``, ``queries``.
    reads: frozenset[str] = frozenset({"pictures"})
    #: Encoders whose vectors are stored beside the gallery from the day of indexing: ``base``.
    stores: frozenset[str] = frozenset()

    def learn(self, pairs: Pairs) -> None:
        """Learn from the same data by the new and the old version; by default from pictures alone."""
        self.fit(*pairs.pictures())

    def fit(self, new: Tensor, old: Tensor) -> None:
        """Learn from N pairs: ``new`` (N, D_new), ``old`` (N, D_old), unit rows of the same pictures."""

    def map(self, x: Tensor, stored: Mapping[str, Tensor]) -> Tensor:
        """Map rows of a gallery (G, D_old) with what is stored beside them, encoder -> (G, D)."""
        mapped: Tensor = self(x)
        return mapped

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, D) to unit vectors: new to old, or old to new for a gallery."""
        raise NotImplementedError
