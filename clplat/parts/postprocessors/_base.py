"""The contract of a post-processor: what is done with rankings after the model has ranked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from clplat.data.records import Item, Picture, Query

__all__ = ["PostProcessor", "Shortlist", "Spent"]


@dataclass
class Spent:
    """What reranking cost: pairs of a query and an item that were scored again, and pictures embedded."""

    pairs: int = 0
    pictures: int = 0


@dataclass(frozen=True)
class Shortlist:
    """The best items of Q queries, in the hands of a reranker.

    Args:
        queries: as they were asked.
        embedded: (Q, D), unit rows.
        items: of the gallery.
        rows: (Q, K) into ``items``, best first, -1 where there are no more.
        scores: (Q, K) of the first ranking, -inf there.
        embed: pictures -> (N, D), unit rows of the model that ranked; what is frozen is kept by their keys.
        spent: what it cost so far.
    """

    queries: Sequence[Query]
    embedded: Tensor
    items: Sequence[Item]
    rows: Tensor
    scores: Tensor
    embed: Callable[[Sequence[Picture]], Tensor]
    spent: Spent = field(default_factory=Spent)

    def images(self, pictures: Sequence[Picture]) -> Tensor:
        """Embeddings (N, D) of pictures, counted in ``spent``."""
        self.spent.pictures += len(pictures)
        return self.embed(pictures)


class PostProcessor:
    """Works on rankings; nothing of the model is changed. The constructor is the configuration."""

    #: Items of each query that `rerank` sees: the best of the first ranking. What is beyond keeps its place.
    shortlist: int = 0

    def rerank(self, found: Shortlist) -> Tensor:
        """New scores (Q, K) of a shortlist; among equal ones the first ranking decides.

        Embeds no more than the pictures of the shortlist, or parts of them. A row of -1 may get any score.
        """
        raise NotImplementedError
