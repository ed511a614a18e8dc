"""ARTEMIS: the text says which dimensions count when a candidate is compared with it and with the picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from clplat.models.features import NOTHING, POOLED, ImageFeatures, TextFeatures
from clplat.models.view import Towers
from clplat.parts.scorers._base import Scorer

__all__ = ["Attended"]


class Attended(Scorer):
    """``s = cos(T t, A(t) * g) + cos(B(t) * r, B(t) * g)`` of a query r, its text t and a candidate g.

    r is what the composer makes, the picture itself with `ImageOnly`, as in the paper. ``*`` is element by
    element; A and B give weights of the dimensions, softmax(W_2 relu(W_1 t)), each with layers of its own; T
    is linear, and the identity at first. The first term is how well a candidate matches what the text asks
    for, the second how alike it is to r in what the text leaves alone. A picture or a text alone is compared
    by its cosine.

    A row lays six vectors side by side, so that an index is six times as large as that of one vector.

    What is trained: 5 D^2 weights, drawn by torch's generator in `attach` except T.

    Reference:
        Delmas et al., "ARTEMIS: Attention-based Retrieval with Text-Explicit Matching and Implicit
        Similarity", ICLR 2022, arXiv:2203.08101.

    Example:
        >>> scorer = Attended()
        >>> alone = scorer.item(ImageFeatures(pooled=torch.tensor([[3.0, 0.0]])), lambda found: found.pooled)
        >>> scorer.block(alone, alone)
        tensor([[1.]])
    """

    wants: ClassVar[Mapping[str, frozenset[str]]] = {"image": NOTHING, "text": POOLED}
    single = False

    def attach(self, towers: Towers) -> None:
        width = towers.joint
        self.match = nn.Linear(width, width)
        nn.init.eye_(self.match.weight)
        nn.init.zeros_(self.match.bias)
        self.explicit, self.implicit = (
            nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.Softmax(dim=1))
            for _ in range(2)
        )
        # Two orders to add D products in each of four sums, of terms of unit length.
        self.slack = 8.08 * (width + 16) * 2.0**-24

    def query(
        self,
        image: ImageFeatures,
        text: TextFeatures,
        compose: Callable[[ImageFeatures, TextFeatures], Tensor],
    ) -> Tensor:
        r, t = normalize(compose(image, text), dim=-1), normalize(text.pooled, dim=-1)
        asked, kept = self.explicit(t), self.implicit(t)
        said = normalize(self.match(t), dim=-1)
        both = normalize(r + t, dim=-1)  # what it is as an item, which queries are not
        parts = [said * asked, asked**2, normalize(kept * r, dim=-1) * kept, kept**2, both, both**2]
        return torch.cat(parts, dim=-1)

    def item(self, image: ImageFeatures, target: Callable[[ImageFeatures], Tensor]) -> Tensor:
        return _alone(target(image))

    def text(self, text: TextFeatures) -> Tensor:
        return _alone(text.pooled)

    def block(self, queries: Tensor, items: Tensor) -> Tensor:
        asks, (shown, squared) = queries.chunk(6, dim=1)[:4], items.chunk(6, dim=1)[4:]
        explicit, asked, implicit, kept = asks
        return _ratio(explicit @ shown.T, asked @ squared.T) + _ratio(implicit @ shown.T, kept @ squared.T)

    def pairs(self, queries: Tensor, items: Tensor) -> Tensor:
        asks, (shown, squared) = queries.chunk(6, dim=1)[:4], items.chunk(6, dim=1)[4:]
        explicit, asked, implicit, kept = asks
        first = _ratio((explicit * shown).sum(1), (asked * squared).sum(1))
        return first + _ratio((implicit * shown).sum(1), (kept * squared).sum(1))


def _alone(pooled: Tensor) -> Tensor:
    """A row that, as a query, is compared by its cosine alone."""
    unit = normalize(pooled, dim=-1)
    nothing, all_ = torch.zeros_like(unit), torch.ones_like(unit)
    return torch.cat([nothing, nothing, unit, all_, unit, unit**2], dim=-1)


def _ratio(above: Tensor, squared: Tensor) -> Tensor:
    """A product over the length of its second factor; 0 where both are."""
    return above / squared.clamp(min=1e-20).sqrt()
