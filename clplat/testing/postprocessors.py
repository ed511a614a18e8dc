"""What every post-processor must do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from clplat.data.records import Item, Picture
from clplat.models.frozen import weights_fixed
from clplat.parts.composers.sum import Sum
from clplat.parts.postprocessors._base import PostProcessor, Shortlist, Spent
from clplat.testing.checks import generator_untouched
from clplat.testing.part import PlainPartContract
from clplat.testing.tiny import tiny_collate, tiny_domains, tiny_retriever

__all__ = ["PostProcessorContract"]


class PostProcessorContract(PlainPartContract[PostProcessor]):
    """Contract tests of a post-processor: subclass, override `make`, and pytest runs them all.

    Example:
        >>> from clplat.parts.postprocessors.crops import Crops
        >>> class TestCrops(PostProcessorContract):
        ...     def make(self) -> PostProcessor:
        ...         return Crops(shortlist=3)
    """

    def _shortlist(self) -> Shortlist:
        """The best of six queries; the last has one less, and one item is of words."""
        held = tiny_domains()[0].test
        retriever = tiny_retriever(composer=Sum()).eval()
        pixels, tokenize = tiny_collate().pixels, retriever.backbone.tokenize

        def embed(pictures: Sequence[Picture]) -> Tensor:
            with torch.no_grad(), weights_fixed():
                return retriever.encode_images(pixels.images(pictures))

        references = [query.reference for query in held.queries if query.reference is not None]
        with torch.no_grad(), weights_fixed():
            asked = retriever.encode_queries(pixels.images(references), tokenize(["red"] * len(references)))
        items = [*held.gallery.items, Item.of(text="a red square")]
        gallery = torch.cat([embed(list(held.gallery.pictures)), asked[:1]])
        scores, rows = (asked @ gallery.T).topk(min(max(1, self.make().shortlist), len(items)))
        rows[-1, -1], scores[-1, -1] = -1, -torch.inf
        return Shortlist(held.queries, asked, items, rows, scores, embed)

    # -- the contract -------------------------------------------------------------------------------------

    def test_it_scores_every_candidate_of_the_shortlist(self) -> None:
        found = self._shortlist()
        scores = self.make().rerank(found)
        assert scores.shape == found.rows.shape, f"{scores.shape} for {found.rows.shape}"
        assert torch.isfinite(scores[found.rows >= 0]).all(), "a score is not finite"

    def test_it_gives_the_same_scores_again_and_draws_from_no_global_generator(self) -> None:
        with generator_untouched("it draws from torch's global generator, or seeds it"):
            first, again = (self.make().rerank(self._shortlist()) for _ in range(2))
        assert torch.equal(first, again), "the same shortlist gets other scores"

    def test_it_leaves_the_shortlist_alone(self) -> None:
        found = self._shortlist()
        before = [found.embedded.clone(), found.rows.clone(), found.scores.clone()]
        self.make().rerank(found)
        same = zip(before, (found.embedded, found.rows, found.scores), strict=True)
        assert all(torch.equal(old, now) for old, now in same), "it changes what it is given"

    def test_a_query_is_scored_by_itself(self) -> None:
        found = self._shortlist()
        whole = self.make().rerank(found)
        part = slice(0, 2)
        few = replace(
            found,
            queries=found.queries[part],
            embedded=found.embedded[part],
            rows=found.rows[part],
            scores=found.scores[part],
            spent=Spent(),
        )
        close = torch.isclose(self.make().rerank(few), whole[part], atol=1e-5) | (found.rows[part] < 0)
        assert close.all(), "other queries change the scores of a query"

    def test_what_it_embeds_is_counted(self) -> None:
        found = self._shortlist()
        asked: list[str] = []

        def embed(pictures: Sequence[Picture]) -> Tensor:
            asked.extend(picture.key for picture in pictures)
            return self._shortlist().embed(pictures)

        self.make().rerank(replace(found, embed=embed))
        assert found.spent.pictures == len(asked) == len(set(asked)), "not counted, or embedded twice"
