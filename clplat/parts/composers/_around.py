"""A composer that holds another one and hands on what that one wants, trains and says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from clplat.models.features import ImageFeatures, TextFeatures
from clplat.models.view import Towers
from clplat.parts.composers._base import Composer
from clplat.parts.composers.sum import Sum

__all__ = ["Around"]


class Around(Composer):
    """Changes what an inner composer is given, or what it gives; all else is the inner one's.

    Args:
        inner: any composer; `Sum` unless given.
        image, text: features that are read beside those that the inner one wants.
    """

    def __init__(
        self,
        inner: Composer | None,
        image: frozenset[str] = frozenset(),
        text: frozenset[str] = frozenset(),
    ) -> None:
        super().__init__()
        self.inner = Sum() if inner is None else inner
        wants = self.inner.wants
        self.wants: Mapping[str, frozenset[str]] = {  # type: ignore[misc]
            "image": frozenset(wants.get("image", ())) | image,
            "text": frozenset(wants.get("text", ())) | text,
        }
        self.target_wants = self.inner.target_wants  # type: ignore[misc]
        self.learns_from = self.inner.learns_from  # type: ignore[misc]
        self.grows, self.fits = self.inner.grows, self.inner.fits  # type: ignore[misc]

    @property
    def places(self) -> int:  # type: ignore[override]
        return self.inner.places

    @property
    def objectives(self) -> tuple[str, ...]:
        return self.inner.objectives

    def attach(self, towers: Towers) -> None:
        """Attach the inner composer, and keep the towers at hand."""
        self.inner.attach(towers)
        self.towers = towers

    def needs_pooled(self) -> None:
        """Refuse an inner composer whose inputs cannot be replaced by vectors.

        Raises:
            ValueError: it reads more than pooled features of both inputs.
        """
        if any(set(wanted) != {"pooled"} for wanted in self.inner.wants.values()):
            kind = type(self.inner).__name__
            raise ValueError(f"inner must read pooled features of both inputs, as {kind} does not")

    def forward(self, image: ImageFeatures, text: TextFeatures) -> Tensor:
        query: Tensor = self.inner(image, text)
        return query

    def target(self, image: ImageFeatures) -> Tensor:
        return self.inner.target(image)

    def grow(self) -> None:
        self.inner.grow()

    def fit(self, image: Tensor, text: Tensor, target: Tensor) -> None:
        self.inner.fit(image, text, target)

    def terms(self, batch: Any, outputs: Any) -> dict[str, Tensor]:
        return self.inner.terms(batch, outputs)
