"""The contract of a post-processor: what is done with rankings after the model has ranked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor

from clplat.data.records import Item, Picture, Query

__all__ = ["Banks", "PostProcessor", "Scored", "Shortlist", "Spent"]


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


@dataclass(frozen=True)
class Banks:
    """Training data of the domains seen, embedded: never validation or test data.

    Args:
        queries: (B, D) composed queries by the version that asks, in the gallery's space.
        pictures: (P, D) by the version that made the gallery; no rows where it had seen no domain.
        texts: (T, D) likewise, where a gallery holds words.
    """

    queries: Tensor
    pictures: Tensor
    texts: Tensor | None = None


@dataclass(frozen=True)
class Scored:
    """Rows (N, D) that are compared by inner products.

    Args:
        rows: of queries or of a gallery.
        exclude: of queries: gallery rows (N, E) that each may not find, padded with -1.
        words: of a gallery that holds words: how much of each row is words (N,), 0, 1, or a half for both.
    """

    rows: Tensor
    exclude: Tensor | None = None
    words: Tensor | None = None


class PostProcessor:
    """Works on rankings; nothing of the model is changed. The constructor is the configuration.

    One that `maps` changes embeddings, by what it learnt of training data, and is ranked exactly; one with a
    ``shortlist`` scores the best items again.
    """

    #: It maps the embeddings of queries and gallery.
    maps: ClassVar[bool] = False

    #: Items of each query that `rerank` sees: the best of the first ranking. What is beyond keeps its place.
    shortlist: int = 0

    def fit(self, banks: Banks) -> None:
        """Learn from training data; called anew for every pair of a query version and a gallery version."""

    def map(self, queries: Scored, gallery: Scored) -> tuple[Tensor, Tensor]:
        """What is compared instead: (Q, D + E) and (G, D + E), E columns added at most.

        A row depends on itself and on the banks; of a query also on the gallery.
        """
        return queries.rows, gallery.rows

    def rerank(self, found: Shortlist) -> Tensor:
        """New scores (Q, K) of a shortlist; among equal ones the first ranking decides.

        Embeds no more than the pictures of the shortlist, or parts of them. A row of -1 may get any score.
        """
        raise NotImplementedError
