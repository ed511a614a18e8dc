"""Galleries as a view of the model's head stores them, and queries as it compares them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from clplat.data.records import RetrievalSet
from clplat.evaluation.asked import Asked, Measured, measure
from clplat.evaluation.gallery import GalleryReader, Scored
from clplat.evaluation.lists import Lists, best_of
from clplat.parts.heads._base import View
from clplat.parts.scorers._base import Scorer
from clplat.parts.scorers.dot import Dot

__all__ = ["Compared", "compared_by"]


class Compared:
    """One view of embeddings: what is kept of galleries, and how queries are ranked against it.

    Args:
        view: of the head.
        scorer: of the model.

    Attributes:
        stored: gallery -> what `View.store` gave.
    """

    def __init__(self, view: View | None = None, scorer: Scorer | None = None) -> None:
        self.view, self.scorer = view or View(), scorer or Dot()
        self.stored: dict[str, Tensor] = {}
        self._loaded: dict[str, Tensor | Scored] = {}

    def holding(self, stored: Mapping[str, Tensor]) -> Compared:
        """The same comparison with other galleries, by what is stored of them."""
        other = Compared(self.view, self.scorer)
        other.stored = dict(stored)
        return other

    @torch.inference_mode()
    def take(self, gallery: str, rows: Tensor) -> None:
        """Keep a gallery's rows of the head (G, W), unless they are."""
        if gallery not in self.stored:
            self.stored[gallery] = self.view.store(rows)

    @property
    def bytes_per_item(self) -> float:
        """What one gallery item takes at rest."""
        found = self.view.bytes_per_item(next(iter(self.stored.values())))
        return int(found) if found == int(found) else found

    @torch.inference_mode()
    def gallery(self, name: str) -> Tensor | Scored:
        """What queries are compared with, from what is kept."""
        if name not in self._loaded:
            rows = self.view.load(self.stored[name])
            self._loaded[name] = rows if self.scorer.approximable else Scored(rows, self.scorer)
        return self._loaded[name]

    def rows(self, name: str) -> Tensor:
        """The same, as rows (G, V)."""
        found = self.gallery(name)
        return torch.as_tensor(found.rows) if isinstance(found, Scored) else found

    @torch.inference_mode()
    def queries(self, rows: Tensor) -> Tensor:
        """Rows of the head (Q, W) as they are compared with galleries."""
        return self.view.map(rows, "query")

    def fits(self, held: RetrievalSet, queries: Tensor) -> bool:
        """Whether queries, as rows of a head, have the width of what is kept of the gallery."""
        width: int = self.queries(queries[:1]).shape[1]
        kept = GalleryReader(self.gallery(held.gallery.name))
        return bool(width == kept.shape[1])

    def measured(self, held: RetrievalSet, rows: Asked, queries: Tensor, listed: int = 0) -> Measured:
        """What `measure` finds; ties count against where the protocol or the view says so."""
        rule = self.view.tie_rule if self.view.tie_rule == "against" else held.protocol.tie_rule
        return measure(held, rows, self.queries(queries), self.gallery(held.gallery.name), rule, listed)

    def lists(
        self, held: RetrievalSet, rows: Asked, queries: Tensor, tops: Mapping[str, Tensor] | None = None
    ) -> Lists:
        """The best rows of every query; ``tops`` are those that were listed while measuring."""
        queries, gallery, tops = self.queries(queries), self.gallery(held.gallery.name), tops or {}
        best = best_of(queries, gallery, rows.exclude, top=tops.get("all"))
        if rows.candidates is None:
            return best
        own = best_of(queries, gallery, rows.exclude, among=rows.candidates, top=tops.get("sub"))
        return replace(best, own=own)

    @torch.inference_mode()
    def items(self, rows: Tensor) -> Tensor:
        """Rows of the head as a gallery holds them, after they were stored."""
        return self.view.load(self.view.store(rows))


def compared_by(encoder: Any) -> dict[str, Compared]:
    """The views of a model's embeddings, the main one first; of a model without any, the rows as they are."""
    views = getattr(encoder, "views", None) or {"full": View()}
    return {name: Compared(view, getattr(encoder, "scorer", None)) for name, view in views.items()}
