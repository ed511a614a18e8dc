"""What every post-processor must do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any
from unittest import SkipTest

import torch
from torch import Tensor
from torch.nn.functional import normalize

from clplat.data.collate import item_columns
from clplat.data.images import PixelStore
from clplat.data.records import Item, Picture, Query
from clplat.models.frozen import weights_fixed
from clplat.parts.composers.sum import Sum
from clplat.parts.postprocessors._base import Banks, PostProcessor, Scored, Shortlist, Spent
from clplat.parts.scorers._fit import scoring_by
from clplat.parts.scorers.filip import Filip
from clplat.randomness import generator
from clplat.retriever import ComposedRetriever
from clplat.testing.checks import generator_untouched
from clplat.testing.part import PlainPartContract
from clplat.testing.tiny import tiny_collate, tiny_domains, tiny_retriever

__all__ = ["PostProcessorContract"]


class _Rows:
    """What other scorers compare, by a small retriever; the keys of items are written down."""

    def __init__(self, retriever: ComposedRetriever, pixels: PixelStore, keys: list[str]) -> None:
        self.retriever, self.pixels, self.keys = retriever, pixels, keys

    def queries(self, scorer: Any, queries: Sequence[Query]) -> Tensor:
        shown = self.pixels.images([query.reference for query in queries if query.reference is not None])
        said = self.retriever.backbone.tokenize([query.text or "" for query in queries])
        with torch.no_grad(), weights_fixed(), scoring_by(self.retriever, scorer):
            return self.retriever.encode_queries(shown, said)

    def items(self, scorer: Any, items: Sequence[Item]) -> Tensor:
        self.keys.extend(item.picture.key for item in items if item.picture is not None)
        with torch.no_grad(), weights_fixed(), scoring_by(self.retriever, scorer):
            columns = item_columns(items, self.pixels.images, self.retriever.backbone.tokenize)
            return self.retriever.encode_items(*columns)

    def patches(self, items: Sequence[Item]) -> Tensor:
        scorer = Filip(vectors=9)
        return scorer.patches_of(self.items(scorer, items))


class PostProcessorContract(PlainPartContract[PostProcessor]):
    """Contract tests of a post-processor: subclass, override `make`, and pytest runs them all.

    Example:
        >>> from clplat.parts.postprocessors.crops import Crops
        >>> class TestCrops(PostProcessorContract):
        ...     def make(self) -> PostProcessor:
        ...         return Crops(shortlist=3)
    """

    def _ready(self) -> PostProcessor:
        """One that has learnt, if it learns."""
        part, draw = self.make(), generator(0, "contract", "reranker")
        if part.learns and not part.maps:
            rows = [normalize(torch.randn(n, 24, generator=draw), dim=1) for n in (9, 12)]
            part.fit(_banks(rows[0], rows[1]))
        return part

    def _shortlist(self) -> Shortlist:
        """The best of six queries; the last has one less, and one item is of words."""
        if self.make().maps and not self.make().shortlist:
            raise SkipTest("it maps embeddings and ranks nothing again")
        held, (retriever, asked, gallery) = tiny_domains()[0].test, _embedded()
        pixels, tokenize = tiny_collate().pixels, retriever.backbone.tokenize

        def embed(pictures: Sequence[Picture]) -> Tensor:
            with torch.no_grad(), weights_fixed():
                return retriever.encode_images(pixels.images(pictures))

        asked, gallery = asked.clone(), gallery.clone()  # of each shortlist its own
        items = [*held.gallery.items, Item.of(text="a red square")]
        scores, rows = (asked @ gallery.T).topk(min(max(1, self.make().shortlist), len(items)))
        rows[-1, -1], scores[-1, -1] = -1, -torch.inf
        place = {item.key: i for i, item in enumerate(items)}
        return Shortlist(
            held.queries,
            asked,
            items,
            rows,
            scores,
            embed,
            say=lambda texts: retriever.encode_texts(tokenize(texts)).detach(),
            by=_Rows(retriever, pixels, []),
            hold=lambda some: gallery[[place[item.key] for item in some]],
        )

    def _mapping(self) -> tuple[PostProcessor, Scored, Scored]:
        """Fitted on banks, with queries and a gallery; every query may not find one row."""
        if not self.make().maps:
            raise SkipTest("it maps no embeddings")
        draw, part = generator(0, "contract", "postprocessor"), self.make()
        rows = [normalize(torch.randn(n, 8, generator=draw), dim=1) for n in (9, 7, 5, 12)]
        part.fit(_banks(rows[0], rows[1]))
        return part, Scored(rows[2], torch.arange(5)[:, None]), Scored(rows[3])

    # -- the contract -------------------------------------------------------------------------------------

    def test_it_scores_every_candidate_of_the_shortlist(self) -> None:
        found = self._shortlist()
        scores = self._ready().rerank(found)
        assert scores.shape == found.rows.shape, f"{scores.shape} for {found.rows.shape}"
        assert torch.isfinite(scores[found.rows >= 0]).all(), "a score is not finite"

    def test_it_gives_the_same_scores_again_and_draws_from_no_global_generator(self) -> None:
        with generator_untouched("it draws from torch's global generator, or seeds it"):
            first, again = (self._ready().rerank(self._shortlist()) for _ in range(2))
        assert torch.equal(first, again), "the same shortlist gets other scores"

    def test_it_leaves_the_shortlist_alone(self) -> None:
        found = self._shortlist()
        before = [found.embedded.clone(), found.rows.clone(), found.scores.clone()]
        self._ready().rerank(found)
        same = zip(before, (found.embedded, found.rows, found.scores), strict=True)
        assert all(torch.equal(old, now) for old, now in same), "it changes what it is given"

    def test_a_query_is_scored_by_itself(self) -> None:
        found = self._shortlist()
        whole = self._ready().rerank(found)
        part = slice(0, 2)
        few = replace(
            found,
            queries=found.queries[part],
            embedded=found.embedded[part],
            rows=found.rows[part],
            scores=found.scores[part],
            spent=Spent(),
        )
        close = torch.isclose(self._ready().rerank(few), whole[part], atol=1e-5) | (found.rows[part] < 0)
        assert close.all(), "other queries change the scores of a query"

    def test_what_it_embeds_is_counted(self) -> None:
        found = self._shortlist()
        asked: list[str] = []

        def embed(pictures: Sequence[Picture]) -> Tensor:
            asked.extend(picture.key for picture in pictures)
            return self._shortlist().embed(pictures)

        self._ready().rerank(replace(found, embed=embed))
        assert isinstance(found.by, _Rows)
        asked += found.by.keys
        assert found.spent.pictures == len(asked) == len(set(asked)), "not counted, or embedded twice"

    def test_one_that_learns_changes_nothing_before(self) -> None:
        if not self.make().learns or self.make().maps:
            raise SkipTest("it learns no reranking")
        found = self._shortlist()
        assert torch.equal(self.make().rerank(found), found.scores), "the untrained model saw no domain"

    def test_it_does_something(self) -> None:
        part = self.make()
        assert part.maps or part.shortlist > 0, "it neither maps embeddings nor has a shortlist"

    def test_what_it_maps_can_be_ranked(self) -> None:
        part, queries, gallery = self._mapping()
        before = queries.rows.clone(), gallery.rows.clone()
        with generator_untouched("it draws from torch's global generator, or seeds it"):
            (q, g), again = part.map(queries, gallery), part.map(queries, gallery)
        assert len(q) == len(queries.rows) and len(g) == len(gallery.rows) and q.shape[1] == g.shape[1]
        assert torch.isfinite(q).all() and torch.isfinite(g).all(), "a row is not finite"
        assert torch.equal(q, again[0]) and torch.equal(g, again[1]), "the same rows are mapped otherwise"
        kept = zip(before, (queries.rows, gallery.rows), strict=True)
        assert all(torch.equal(old, now) for old, now in kept), "it changes what it is given"

    def test_what_is_asked_changes_no_gallery_and_no_other_query(self) -> None:
        part, queries, gallery = self._mapping()
        q, g = part.map(queries, gallery)
        assert queries.exclude is not None
        few = Scored(queries.rows[:2], queries.exclude[:2])
        fewer, same = part.map(few, gallery)
        assert torch.allclose(same, g, atol=1e-6), "queries of an evaluation change the gallery"
        assert torch.allclose(fewer, q[:2], atol=1e-6), "other queries change a query"

    def test_a_second_fit_forgets_the_first(self) -> None:
        part, queries, gallery = self._mapping()
        first = part.map(queries, gallery)
        draw = generator(1, "contract", "postprocessor")
        other = [normalize(torch.randn(4, 8, generator=draw), dim=1) for _ in range(2)]
        fresh = self.make()
        for each in (part, fresh):
            each.fit(_banks(*other))
        found, expected = part.map(queries, gallery), fresh.map(queries, gallery)
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True)), "it remembers old banks"
        same = all(torch.equal(a, b) for a, b in zip(found, first, strict=True))
        assert not same, "the banks change nothing"
        fresh.fit(Banks(other[0], other[0][:0]))  # the first gallery's version had seen no training picture
        assert all(torch.isfinite(rows).all() for rows in fresh.map(queries, gallery))


@cache
def _embedded() -> tuple[ComposedRetriever, Tensor, Tensor]:
    """A retriever, which no contract changes, and what it makes of queries and of a gallery."""
    held, retriever = tiny_domains()[0].test, tiny_retriever(composer=Sum()).eval()
    pixels, references = tiny_collate().pixels, [query.reference for query in held.queries]
    shown = pixels.images([picture for picture in references if picture is not None])
    with torch.no_grad(), weights_fixed():
        asked = retriever.encode_queries(shown, retriever.backbone.tokenize(["red"] * len(references)))
        gallery = retriever.encode_images(pixels.images(list(held.gallery.pictures)))
    return retriever, asked, torch.cat([gallery, asked[:1]])


def _banks(queries: Tensor, pictures: Tensor) -> Banks:
    """Banks of a part of any kind: the answer to a query is one of the pictures."""
    answers = pictures[torch.arange(len(queries)) % len(pictures)]
    return Banks(queries, pictures, answers=answers, labels=tuple(f"{i % 3}" for i in range(len(queries))))
