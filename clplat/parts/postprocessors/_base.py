"""The contract of a post-processor: what is done with rankings after the model has ranked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from clplat.data.records import Item, Picture, Query
from clplat.models.scoring import Scores

__all__ = ["Banks", "PostProcessor", "Rows", "Scored", "Shortlist", "Spent", "scored_first"]


@dataclass
class Spent:
    """What reranking cost: pairs of a query and an item scored again, pictures and texts embedded.

    ``index_pairs`` are pairs of items, which an index scores once for all queries.
    """

    pairs: int = 0
    pictures: int = 0
    texts: int = 0
    index_pairs: int = 0


class Rows(Protocol):
    """What a scorer compares, made by the model that ranked."""

    def queries(self, scorer: Scores, queries: Sequence[Query]) -> Tensor:
        """Rows (Q, R)."""

    def items(self, scorer: Scores, items: Sequence[Item]) -> Tensor:
        """Rows (N, R)."""

    def patches(self, items: Sequence[Item]) -> Tensor:
        """Patches (N, P, D) of items with pictures, in the joint space, unit rows; P is a square."""


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
        say: texts -> (N, D), likewise.
        by: what other scorers compare.
        hold: items -> (N, D), their rows in the index.
    """

    queries: Sequence[Query]
    embedded: Tensor
    items: Sequence[Item]
    rows: Tensor
    scores: Tensor
    embed: Callable[[Sequence[Picture]], Tensor]
    spent: Spent = field(default_factory=Spent)
    say: Callable[[Sequence[str]], Tensor] | None = None
    by: Rows | None = None
    hold: Callable[[Sequence[Item]], Tensor] | None = None

    def vectors(self) -> Tensor:
        """Rows (Q, K, D) of the candidates in the index, zeros where there are none."""
        assert self.hold is not None, "this shortlist knows no index"
        distinct = torch.unique(self.rows[self.rows >= 0])
        held = self.hold([self.items[row] for row in distinct.tolist()])
        places = torch.searchsorted(distinct, self.rows.clamp(min=0)).clamp(max=len(distinct) - 1)
        return held[places] * (self.rows >= 0)[..., None]

    def images(self, pictures: Sequence[Picture]) -> Tensor:
        """Embeddings (N, D) of pictures, counted in ``spent``."""
        self.spent.pictures += len(pictures)
        return self.embed(pictures)

    def texts(self, texts: Sequence[str]) -> Tensor:
        """Embeddings (N, D) of texts, counted in ``spent``."""
        assert self.say is not None, "this shortlist embeds no texts"
        self.spent.texts += len(texts)
        return self.say(texts)

    def compared(self, scorer: Scores, rows: Tensor) -> tuple[Tensor, Tensor]:
        """What another scorer compares: of the queries (Q, R), and of distinct gallery rows (N,)."""
        assert self.by is not None, "this shortlist knows no other scorer"
        items = [self.items[row] for row in rows.tolist()]
        self.spent.pictures += sum(item.picture is not None for item in items)
        return self.by.queries(scorer, self.queries), self.by.items(scorer, items)

    def patches(self, items: Sequence[Item]) -> Tensor:
        """Patches (N, P, D) of distinct items with pictures, which are counted; see `Rows.patches`."""
        assert self.by is not None, "this shortlist knows no patches"
        self.spent.pictures += len(items)
        return self.by.patches(items)

    def scored(self, scorer: Scores, wanted: Tensor) -> Tensor:
        """Scores (Q, K) by another scorer of the pairs that are wanted (Q, K), -inf of others; counted."""
        wanted = wanted & (self.rows >= 0)
        distinct = torch.unique(self.rows[wanted])
        if not len(distinct):
            return torch.full_like(self.scores, -torch.inf)
        asked, held = self.compared(scorer, distinct)
        return self.exact(scorer, asked, held, torch.searchsorted(distinct, self.rows.contiguous()), wanted)

    def exact(self, scorer: Scores, asked: Tensor, held: Tensor, places: Tensor, wanted: Tensor) -> Tensor:
        """The same of rows (Q, R) and (N, R), where item (Q, K) is the row of ``held`` at ``places``."""
        self.spent.pairs += int(wanted.sum())
        out = torch.full_like(self.scores, -torch.inf)
        for query, columns in enumerate(wanted):
            if columns.any():
                out[query, columns] = scorer.block(asked[query : query + 1], held[places[query, columns]])[0]
        return out


def scored_first(scores: Tensor, others: Tensor, scored: Tensor) -> Tensor:
    """Scores (Q, K) with what was not scored behind all that was, in the order of other numbers.

    Args:
        scores: (Q, K), read where ``scored`` is true; -inf: no item is there.
        others: (Q, K), read elsewhere; -inf likewise.
        scored: (Q, K) or (K,).

    Example:
        >>> scores, others = torch.tensor([[0.5, 0.25, 0.0, 0.0]]), torch.tensor([[9.0, 9.0, 6.0, 8.0]])
        >>> scored_first(scores, others, torch.tensor([True, True, False, False])).tolist()
        [[0.5, 0.25, -2.75, -0.75]]
    """
    lowest = scores.masked_fill(~scored | ~torch.isfinite(scores), torch.inf).amin(1, keepdim=True)
    highest = others.masked_fill(scored, -torch.inf).amax(1, keepdim=True)
    behind = lowest.masked_fill(lowest == torch.inf, 0.0) - 1.0 - (highest - others)
    return torch.where(scored, scores, behind.masked_fill(~torch.isfinite(others), -torch.inf))


@dataclass(frozen=True)
class Banks:
    """Training data of the domains seen, embedded: never validation or test data.

    Args:
        queries: (B, D) composed queries by the version that asks, in the gallery's space.
        pictures: (P, D) by the version that made the gallery; no rows where it had seen no domain.
        texts: (T, D) likewise, where a gallery holds words.
        answers: (B, D) of the right answer to each query, by that version, for a part that ``learns``;
            ``labels`` are what they show. Its ``queries`` are then of any kind.
    """

    queries: Tensor
    pictures: Tensor
    texts: Tensor | None = None
    answers: Tensor | None = None
    labels: tuple[str, ...] = ()


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

    #: It learns from banks with answers: `fit` is called for every version that has seen a domain.
    learns: ClassVar[bool] = False

    #: Items of each query that `rerank` sees: the best of the first ranking. What is beyond keeps its place.
    shortlist: int = 0

    def fit(self, banks: Banks) -> None:
        """Learn from training data; called anew for every pair of a query version and a gallery version."""

    def map(self, queries: Scored, gallery: Scored) -> tuple[Tensor, Tensor]:
        """What is compared instead: (Q, D + E) and (G, D + E), E columns added at most.

        A row depends on itself and on the banks; of a query also on the gallery.
        """
        return queries.rows, gallery.rows

    def keeps(self, scores: Tensor) -> Tensor | None:
        """Which candidates (Q, K) are handed out at all, by the new scores; None: all, as of most parts."""
        return None

    def answerable(self, found: Shortlist) -> Tensor | None:
        """How sure it is that each query has an answer in the gallery (Q,), in any unit; None: it says not.

        Called after `rerank`, and once more on the shortlist as it is without the right answers.
        """
        return None

    def rerank(self, found: Shortlist) -> Tensor:
        """New scores (Q, K) of a shortlist; among equal ones the first ranking decides.

        Embeds no more than the pictures of the shortlist, or parts of them. A row of -1 may get any score.
        """
        raise NotImplementedError
