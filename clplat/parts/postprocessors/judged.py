"""A shortlist judged by words: what each candidate shows against what is asked."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from torch import Tensor

from clplat.config.space import Choice, Float, Int
from clplat.data.records import Item, Query
from clplat.mechanisms.judging import agreement, expected_level, holds, propositions, said_yes, wins
from clplat.mechanisms.text_space import TextSpace
from clplat.parts.postprocessors._base import PostProcessor, Shortlist

__all__ = ["Judged"]

#: Levels of a rating.
_LEVELS = 5


class Judged(PostProcessor):
    """Reranks by what captions of candidates, or answers about them, say; equal ones keep their order.

    * ``by="propositions"``: how many propositions of the text hold: what it adds is there, what it takes away
      is not. The best ``accept`` candidates are then looked at again as a whole: those that show all of the
      reference's rewritten caption come first.
    * ``"levels"``: the expected level of a rating from 1 to 5, ``sum_l l p_l``, with p a softmax over
      ``-(level - l)^2 / temperature`` around the share of the rewritten caption that the candidate shows.
    * ``"pairs"``: the sum over all pairs, in both orders, of the probability that i shows more of it,
      ``sigmoid((a_i - a_j) / temperature)``.

    Captions, rewritten captions and answers are of a table, or of the offline stand-in (the stream's captions
    and rules; `clplat.mechanisms.text_space`). A table may hold for a candidate and a proposition, such as
    ``"long sleeves"``, an answer that begins with yes or no, and for a candidate and a rewritten caption a
    rating as five numbers; what it does not hold is read from captions.

    Args:
        shortlist: candidates of each query.
        by: what is judged.
        accept: candidates that are judged as a whole after their propositions; 0: none.
        temperature: of ratings and comparisons.
        texts: path of a table; empty: the stand-in.

    Raises:
        ValueError: no such table, no such word, a number out of its range.

    References:
        Luo et al., "ImageScope: Unifying Language-Guided Image Retrieval via Large Multimodal Model
        Collective Reasoning", WWW 2025, arXiv:2503.10166 (propositions). Huang and Chen, "InstUPR:
        Instruction-based Unsupervised Passage Reranking with Large Language Models", 2024, arXiv:2403.16435
        (levels, pairs).

    Example:
        >>> Judged(shortlist=5, accept=3).shortlist
        5
    """

    def __init__(
        self,
        shortlist: Annotated[int, Int(5, 50)] = 20,
        by: Annotated[
            Literal["propositions", "levels", "pairs"], Choice("propositions", "levels", "pairs")
        ] = "propositions",
        accept: Annotated[int, Int(0, 10)] = 0,
        temperature: Annotated[float, Float(0.01, 1.0, log=True)] = 0.1,
        texts: str = "",
    ) -> None:
        if by not in ("propositions", "levels", "pairs"):
            raise ValueError(f"by is '{by}'; allowed: propositions, levels, pairs")
        if shortlist < 1 or not 0 <= accept <= shortlist or not temperature > 0:
            raise ValueError(
                f"needs shortlist >= 1, accept from 0 to it and temperature > 0, not {shortlist}, {accept} "
                f"and {temperature}"
            )
        self.shortlist, self.by, self.accept, self.temperature = shortlist, by, accept, temperature
        self.texts, self.space = texts, TextSpace(texts, 1)

    def rerank(self, found: Shortlist) -> Tensor:
        """New scores (Q, K); of propositions whole numbers.

        Raises:
            UserError: a candidate or a reference of which no caption is known.
        """
        scores = torch.zeros_like(found.scores)
        for query, (asked, rows) in enumerate(zip(found.queries, found.rows.tolist(), strict=True)):
            own = [found.items[row] for row in rows if row >= 0]
            scores[query, : len(own)] = torch.tensor(self._judged(asked, own, found), dtype=scores.dtype)
        return scores

    def _judged(self, asked: Query, items: list[Item], found: Shortlist) -> list[float]:
        if self.by == "propositions":
            found.spent.pairs += len(items) + min(self.accept, len(items))
            return self._accepted(asked, items, self._counts(asked, items))
        wanted = self._wanted(asked)
        shares = torch.tensor([agreement(wanted, self._caption(item)) for item in items])
        if self.by == "levels":
            found.spent.pairs += len(items)
            return expected_level(self._ratings(wanted, items, shares)).tolist()
        found.spent.pairs += len(items) * (len(items) - 1)
        first = ((shares[:, None] - shares[None]) / self.temperature).sigmoid()
        return wins(first[None])[0].tolist()

    def _counts(self, asked: Query, items: list[Item]) -> list[float]:
        """How many propositions hold of each candidate."""
        wanted = [one for text in asked.said for one in propositions(text)]
        return [float(sum(self._holds(item, phrase) == there for phrase, there in wanted)) for item in items]

    def _accepted(self, asked: Query, items: list[Item], counts: list[float]) -> list[float]:
        """Counts, raised above all others for those of the best that are accepted as a whole."""
        if not self.accept:
            return counts
        wanted, above = self._wanted(asked), max(counts) + 1.0
        best = sorted(range(len(items)), key=lambda i: -counts[i])[: self.accept]
        return [
            count + above * (i in best and holds(wanted, self._caption(items[i])))
            for i, count in enumerate(counts)
        ]

    def _ratings(self, wanted: str, items: list[Item], shares: Tensor) -> Tensor:
        """Probabilities (K, L) of levels: of the table, or around the share of what is wanted."""
        levels = torch.arange(_LEVELS)
        made = (-((_LEVELS - 1) * shares[:, None] - levels).square() / self.temperature).softmax(1)
        for place, item in enumerate(items):
            numbers = self._answer(item, wanted).replace(",", " ").split()
            if len(numbers) == _LEVELS and all(map(_is_share, numbers)) and any(map(float, numbers)):
                made[place] = torch.tensor([float(number) for number in numbers])
        return made

    def _wanted(self, asked: Query) -> str:
        """The rewritten caption of the reference, or the text of a query without one."""
        shown, text = asked.reference, " and ".join(asked.said)
        if shown is None:
            return text
        return self.space.rewritten([shown.key], [shown.caption or ""], [text])[0][0]

    def _holds(self, item: Item, phrase: str) -> bool:
        answer = self._answer(item, phrase)
        return said_yes(answer) if answer else holds(phrase, self._caption(item))

    def _answer(self, item: Item, question: str) -> str:
        """What the table says of a candidate and a text, "" where it says nothing."""
        table = self.space.table
        found = table.get(item.picture.key, question) if table is not None and item.picture else ()
        return found[0] if found else ""

    def _caption(self, item: Item) -> str:
        """What an item says, or its picture's caption."""
        if item.text is not None or item.picture is None:
            return item.text or ""
        return self.space.captions([item.picture.key], [item.picture.caption or ""])[0][0]


def _is_share(word: str) -> bool:
    try:
        return 0.0 <= float(word) <= 1.0
    except ValueError:
        return False
