"""M3EL: picture with picture, words with words, and each with the other, where query and item have them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from clplat.config.space import Float
from clplat.models.features import POOLED, ImageFeatures, TextFeatures
from clplat.models.view import Towers
from clplat.parts.scorers._base import Scorer

__all__ = ["Modalities"]


class Modalities(Scorer):
    """The weighted mean of up to four cosines of a query (r, t) and an item (g, h), a picture and its words.

    ``s = sum w / sum w`` over what both have of ``cos(r, g)``, ``cos(t, h)``, ``cos(T t, G g)`` and
    ``cos(G r, T h)``. r is what the composer makes, the picture itself with `ImageOnly`; an item of both,
    such as a picture with its caption, is made as a query is. T and G are linear, the identity at first: at
    equal weights a picture of a gallery is compared as with `Sum`, but for the length of the query.

    A row lays four vectors and two signs side by side: an index is four times as large as that of one.

    Args:
        pictures: weight of picture with picture.
        words: of words with words.
        said: of the query's words with the item's picture.
        shown: of the query's picture with the item's words.

    Raises:
        ValueError: a weight of 0 or below, or no number.

    What is trained: T and G, 2 D^2 weights.

    Reference:
        Hu et al., "Multi-level Matching Network for Multimodal Entity Linking", KDD 2025, arXiv:2412.10440.

    Example:
        >>> from clplat.testing.tiny import tiny_backbone
        >>> scorer = Modalities()
        >>> scorer.attach(Towers(tiny_backbone()))
        >>> item = scorer.item(ImageFeatures(pooled=torch.ones(1, 24)), lambda found: found.pooled)
        >>> scorer.block(item, item).detach().round(decimals=4)
        tensor([[1.]])
    """

    wants: ClassVar[dict[str, frozenset[str]]] = {"image": frozenset(), "text": POOLED}
    single = False

    def __init__(
        self,
        pictures: Annotated[float, Float(0.1, 4.0, log=True)] = 1.0,
        words: Annotated[float, Float(0.1, 4.0, log=True)] = 1.0,
        said: Annotated[float, Float(0.1, 4.0, log=True)] = 1.0,
        shown: Annotated[float, Float(0.1, 4.0, log=True)] = 1.0,
    ) -> None:
        super().__init__()
        weights = (pictures, words, said, shown)
        if not all(0.0 < weight < float("inf") for weight in weights):
            raise ValueError(f"weights must be numbers above 0, not {', '.join(map(str, weights))}")
        self.pictures, self.words, self.said, self.shown = weights

    def attach(self, towers: Towers) -> None:
        """Make T and G; nothing is drawn."""
        self.of_picture, self.of_words = (nn.Linear(towers.joint, towers.joint, bias=False) for _ in range(2))
        for layer in (self.of_picture, self.of_words):
            nn.init.eye_(layer.weight)
        # Two orders to add D products of unit vectors, in each of four means.
        self.slack = 4.04 * (towers.joint + 16) * 2.0**-24

    def query(
        self,
        image: ImageFeatures,
        text: TextFeatures,
        compose: Callable[[ImageFeatures, TextFeatures], Tensor],
    ) -> Tensor:
        return self._row(compose(image, text), text.pooled)

    def item(self, image: ImageFeatures, target: Callable[[ImageFeatures], Tensor]) -> Tensor:
        return self._row(target(image), None)

    def text(self, text: TextFeatures) -> Tensor:
        return self._row(None, text.pooled)

    def _row(self, picture: Tensor | None, words: Tensor | None) -> Tensor:
        given = picture if picture is not None else words
        assert given is not None
        nothing, there = torch.zeros_like(given), torch.ones_like(given[:, :1])
        parts = [nothing] * 4
        if picture is not None:
            parts[0:2] = [normalize(picture, dim=-1), normalize(self.of_picture(picture), dim=-1)]
        if words is not None:
            parts[2:4] = [normalize(words, dim=-1), normalize(self.of_words(words), dim=-1)]
        signs = [there if side is not None else 0 * there for side in (picture, words)]
        return torch.cat([*parts, *signs], dim=-1)

    def block(self, queries: Tensor, items: Tensor) -> Tensor:
        return self._mean(queries, items, lambda one, other: one @ other.T)

    def pairs(self, queries: Tensor, items: Tensor) -> Tensor:
        return self._mean(queries, items, lambda one, other: (one * other).sum(1))

    def _mean(self, queries: Tensor, items: Tensor, times: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        (r, gr, t, tt), (g, gg, h, th) = (rows[:, :-2].chunk(4, dim=1) for rows in (queries, items))
        cosines = (times(r, g), times(t, h), times(tt, gg), times(gr, th))
        seen, read = (rows[:, -2:].chunk(2, dim=1) for rows in (queries, items))
        kinds = ((0, 0), (1, 1), (1, 0), (0, 1))
        there = [times(seen[one], read[other]) for one, other in kinds]
        weights = (self.pictures, self.words, self.said, self.shown)
        total = sum(weight * cosine for weight, cosine in zip(weights, cosines, strict=True))
        count = sum(weight * both for weight, both in zip(weights, there, strict=True))
        found: Tensor = total / count  # type: ignore[assignment]
        return found
