"""Several askers of one shortlist: query, picture, words, descriptions, captions that were found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize

from clplat.config.space import Float, Int
from clplat.data.records import Query
from clplat.mechanisms.prompted import fused_by_certainty
from clplat.mechanisms.text_space import TextSpace
from clplat.parts.postprocessors._base import PostProcessor, Shortlist

__all__ = ["ASKERS", "Branches"]

ASKERS = ("query", "picture", "words", "described", "captions")


class Branches(PostProcessor):
    """Reranks by scores of several askers with each candidate, fused by one of two rules.

    ===============  =========================================================================================
    ``query``        the composed query: the first ranking's scores
    ``picture``      the reference alone
    ``words``        the text alone
    ``described``    the mean cosine with all descriptions of the text (classification by description)
    ``captions``     the mean of the ``nearest`` captions to the reference, or else to the query (X-MoRe)
    ===============  =========================================================================================

    With ``fuse mean`` the new score is the mean over the askers that a query has; with ``certainty`` that of
    their softmaxes over the shortlist, each weighted by how far it is from flat. Of a candidate of words the
    descriptions are its own: classes are told by what they look like.

    Args:
        shortlist: candidates of each query.
        ask: who is asked, in the words above.
        fuse: ``mean`` or ``certainty``.
        scale: of cosines in a softmax.
        descriptions: words -> what such a thing looks like. A text that holds the words is described by
            "TEXT, which has DESCRIPTION" for each; one without any known words by itself.
        captions: texts of any pictures, such as lines of a corpus.
        texts: path of a table (`clplat.data.text_table`) whose rows of a text alone are descriptions, and of
            a picture alone captions; empty: those given here.
        nearest: captions that count.

    Raises:
        ValueError: a number out of range, no such word or table, or askers without what they need.

    References:
        Menon and Vondrick, "Visual Classification via Description from Large Language Models", ICLR 2023,
        arXiv:2210.07183. Eom et al., "Cross-Modal Retrieval Meets Inference: Improving Zero-Shot
        Classification with Cross-Modal Retrieval" (X-MoRe), 2023, arXiv:2308.15273.

    Example:
        >>> part = Branches(ask=["described"], descriptions={"hen": ["two legs", "a beak"]})
        >>> part.told("a photo of a hen")
        ['a photo of a hen, which has two legs', 'a photo of a hen, which has a beak']
    """

    def __init__(
        self,
        shortlist: Annotated[int, Int(5, 50)] = 10,
        ask: Sequence[str] = ("query", "picture", "words"),
        fuse: Literal["mean", "certainty"] = "mean",
        scale: Annotated[float, Float(10.0, 200.0, log=True)] = 100.0,
        descriptions: Mapping[str, Sequence[str]] | None = None,
        captions: Sequence[str] = (),
        texts: str = "",
        nearest: int = 16,
    ) -> None:
        if min(shortlist, nearest) < 1 or not 0.0 < scale < 1e4:
            raise ValueError(
                f"needs shortlist and nearest >= 1 and scale > 0, not {shortlist}, {nearest} and {scale}"
            )
        unknown = [one for one in ask if one not in ASKERS]
        if unknown or not ask or fuse not in ("mean", "certainty"):
            raise ValueError(
                f"ask takes {', '.join(ASKERS)}, fuse mean or certainty, not {list(ask)} and '{fuse}'"
            )
        #: The table, where there is one; results name it.
        self.space = TextSpace(texts) if texts else None
        found, memory = descriptions or {}, captions
        if self.space is not None and self.space.table is not None:
            rows = self.space.table.rows
            found = {text: told for (picture, text), told in rows.items() if not picture}
            memory = [one for (_, text), told in rows.items() if not text for one in told]
        if ("described" in ask and not found) or ("captions" in ask and not memory):
            raise ValueError("the asker 'described' needs descriptions, and 'captions' needs captions")
        self.shortlist, self.ask, self.fuse, self.scale = shortlist, ask, fuse, scale
        self.descriptions, self.captions, self.texts, self.nearest = descriptions, captions, texts, nearest
        #: Words -> descriptions, and captions, of the table or as given.
        self.looks, self.memory = dict(found), tuple(memory)

    def told(self, text: str) -> list[str]:
        """What describes a text."""
        words = f" {text.lower()} "
        known = [word for word in self.looks if f" {word.lower()} " in words]
        return [f"{text}, which has {one}" for word in known for one in self.looks[word]] or [text]

    def rerank(self, found: Shortlist) -> Tensor:
        """New scores (Q, K)."""
        there, items = found.rows >= 0, found.vectors()
        branches = [self._scores(one, found, items) for one in self.ask]
        asked = torch.stack(branches)  # (A, Q, K), NaN of an asker that a query has not
        if self.fuse == "mean":
            scores = asked.nanmean(0)
        else:
            flat = asked.isnan().any(2, keepdim=True)
            logits = (self.scale * asked).masked_fill(flat, 0.0).masked_fill(~there, -torch.inf)
            scores = fused_by_certainty(list(logits.softmax(2).nan_to_num(0.0)), counts=there.sum(1))
        scores = torch.where(scores.isnan(), found.scores, scores)
        return scores.masked_fill(~there, -torch.inf)

    def _scores(self, who: str, found: Shortlist, items: Tensor) -> Tensor:
        """Scores (Q, K) by an asker; rows of NaN where a query has none."""
        if who == "query":
            return found.scores.masked_fill(found.rows < 0, 0.0)
        if who == "described":
            return self._described(found, items)
        rows = {"picture": _pictures, "words": _words, "captions": self._captions}[who](found)
        return torch.einsum("qd,qkd->qk", rows, items)

    def _described(self, found: Shortlist, items: Tensor) -> Tensor:
        """By the mean of descriptions, not of unit length: the mean of cosines."""
        said = [query.text for query in found.queries]
        shown = {row: found.items[row] for row in torch.unique(found.rows).tolist() if row >= 0}
        named = {row: item.text for row, item in shown.items() if item.picture is None and item.text}
        every = dict.fromkeys([*(text for text in said if text), *named.values()])
        means = dict(zip(every, _means([self.told(text) for text in every], found), strict=True))
        missing = torch.full_like(found.embedded[0], torch.nan)
        mine = torch.stack([means[text] if text else missing for text in said])
        scores = torch.einsum("qd,qkd->qk", mine, items)
        for row, text in named.items():
            query, column = (found.rows == row).nonzero(as_tuple=True)
            scores[query, column] = found.embedded[query] @ means[text]
        return torch.where(scores.isnan(), found.scores.masked_fill(found.rows < 0, 0.0), scores)

    def _captions(self, found: Shortlist) -> Tensor:
        """The mean (Q, D) of the captions nearest to each reference, of unit length."""
        memory = found.texts(self.memory)
        shown = _pictures(found)
        asks = torch.where(shown.isnan(), found.embedded, shown)
        best = (asks @ memory.T).topk(min(self.nearest, len(memory)), dim=1).indices
        return normalize(memory[best].mean(1), dim=1)


def _means(told: Sequence[Sequence[str]], found: Shortlist) -> list[Tensor]:
    """The mean embedding (D,) of each list of texts, each distinct text embedded once."""
    distinct = list(dict.fromkeys(text for some in told for text in some))
    rows = dict(zip(distinct, found.texts(distinct), strict=True)) if distinct else {}
    return [torch.stack([rows[text] for text in some]).mean(0) for some in told]


def _pictures(found: Shortlist) -> Tensor:
    """The reference of each query (Q, D), NaN where there is none; each distinct picture embedded once."""
    shown = {query.reference.key: query.reference for query in found.queries if query.reference is not None}
    rows = dict(zip(shown, found.images(list(shown.values())), strict=True)) if shown else {}

    def of(query: Query) -> Tensor:
        missing = torch.full_like(found.embedded[0], torch.nan)
        return missing if query.reference is None else rows[query.reference.key]

    return torch.stack([of(query) for query in found.queries])


def _words(found: Shortlist) -> Tensor:
    """The text of each query (Q, D), NaN where there is none."""
    said = list(dict.fromkeys(query.text for query in found.queries if query.text))
    rows = dict(zip(said, found.texts(said), strict=True)) if said else {}
    missing = torch.full_like(found.embedded[0], torch.nan)
    return torch.stack([rows[query.text] if query.text else missing for query in found.queries])
