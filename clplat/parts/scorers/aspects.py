"""An embedding for each aspect of an item, such as colour or shape, and a text that says which count."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from clplat.config.space import Choice
from clplat.models.features import NOTHING, POOLED, ImageFeatures, TextFeatures
from clplat.models.view import Towers
from clplat.parts.scorers._base import Scorer

__all__ = ["Aspects"]


class Aspects(Scorer):
    """``s = sum_a w_a(t) cos(q_a, g_a)``: A light heads for each item, which a router of the text weighs.

    ``x_a = n(x) + U_a V_a n(x)`` of rank ``rank``, the same heads for queries and items, and
    ``w = softmax(R n(t))``. U and R are zero at first: all aspects are the embedding, and count alike. A
    picture alone weighs them alike. `usage` says how much each aspect counts for some texts, and `alike` how
    near each is to the generic embedding, which tells the aspect that the embedding follows.

    Args:
        number: A.
        rank: of each head.

    Raises:
        ValueError: a size below 1.

    What is trained: ``A D (2 rank + 1)`` weights. An index is A times as large.

    Reference:
        Ostendorff et al., "Specialized Document Embeddings for Aspect-based Similarity of Research Papers",
        JCDL 2022, arXiv:2203.14541.

    Example:
        >>> from clplat.testing.tiny import tiny_backbone
        >>> scorer = Aspects(number=3, rank=2)
        >>> scorer.attach(Towers(tiny_backbone()))
        >>> scorer.item(ImageFeatures(pooled=torch.ones(1, 24)), lambda found: found.pooled).shape
        torch.Size([1, 75])
    """

    wants: ClassVar[Mapping[str, frozenset[str]]] = {"image": NOTHING, "text": POOLED}
    single = False

    def __init__(
        self,
        number: Annotated[int, Choice(2, 4, 8)] = 4,
        rank: Annotated[int, Choice(4, 8, 16, 32)] = 8,
    ) -> None:
        super().__init__()
        if min(number, rank) < 1:
            raise ValueError(f"number and rank must be at least 1, not {number} and {rank}")
        self.number, self.rank = number, rank

    def attach(self, towers: Towers) -> None:
        """Make heads and router, from torch's generator."""
        width = towers.joint
        self.down = nn.Parameter(torch.randn(self.number, width, self.rank) / width**0.5)
        self.up = nn.Parameter(torch.zeros(self.number, self.rank, width))
        self.router = nn.Linear(width, self.number)
        nn.init.zeros_(self.router.weight)
        nn.init.zeros_(self.router.bias)
        # Two orders to add A D products of unit vectors with weights that sum to 1.
        self.slack = 2.02 * (self.number * width + 16) * 2.0**-24

    def query(
        self,
        image: ImageFeatures,
        text: TextFeatures,
        compose: Callable[[ImageFeatures, TextFeatures], Tensor],
    ) -> Tensor:
        return self._row(compose(image, text), self._weights(text.pooled))

    def item(self, image: ImageFeatures, target: Callable[[ImageFeatures], Tensor]) -> Tensor:
        x = target(image)
        return self._row(x, x.new_full((len(x), self.number), 1.0 / self.number))

    def text(self, text: TextFeatures) -> Tensor:
        return self._row(text.pooled, self._weights(text.pooled))

    def _weights(self, words: Tensor) -> Tensor:
        weights: Tensor = self.router(normalize(words, dim=-1)).softmax(-1)
        return weights

    def _row(self, x: Tensor, weights: Tensor) -> Tensor:
        x = normalize(x, dim=-1)
        made = x[:, None] + torch.einsum("bd,adr,arw->baw", x, self.down, self.up)
        return torch.cat([normalize(made, dim=-1).flatten(1), weights], 1)

    def parts_of(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings (N, A, D) and weights (N, A) of flat rows."""
        return rows[:, : -self.number].view(len(rows), self.number, -1), rows[:, -self.number :]

    def usage(self, queries: Tensor) -> Tensor:
        """How much each aspect counts (A,) for these rows of queries, on average."""
        return self.parts_of(queries)[1].mean(0)

    def alike(self, items: Tensor, generic: Tensor) -> Tensor:
        """The mean cosine (A,) of each aspect of items with their generic embeddings (N, D)."""
        return (self.parts_of(items)[0] * normalize(generic, dim=-1)[:, None]).sum(2).mean(0)

    def block(self, queries: Tensor, items: Tensor) -> Tensor:
        (asked, weights), (held, _) = self.parts_of(queries), self.parts_of(items)
        return (weights[..., None] * asked).flatten(1) @ held.flatten(1).T

    def pairs(self, queries: Tensor, items: Tensor) -> Tensor:
        (asked, weights), (held, _) = self.parts_of(queries), self.parts_of(items)
        return ((weights[..., None] * asked) * held).flatten(1).sum(1)
