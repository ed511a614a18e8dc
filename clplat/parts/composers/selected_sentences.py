"""Several sentences say what is asked for, and attention among them chooses those that help."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from clplat.config.space import Float, Int
from clplat.mechanisms.attention import heads_fit
from clplat.mechanisms.text_space import TextSpace
from clplat.models.features import NAMED, ImageFeatures, TextFeatures
from clplat.models.view import Towers
from clplat.parts.composers._around import Around
from clplat.parts.composers._base import Composer
from clplat.parts.composers._words import texts_embedded, words_of

__all__ = ["SelectedSentences"]


class SelectedSentences(Around):
    """The inner composer gets ``mean_k ((1 - ratio) s_k + ratio n(s_k + A(s)_k))`` in place of the text.

    s_k are the unit embeddings of the text and of its sentences, captions rewritten by it: of a table that a
    language model wrote, or of the offline stand-in (`clplat.mechanisms.text_space`). A is self-attention
    among the sentences of one text, zero at first, so that it begins as their mean.

    Args:
        inner: makes queries, of pooled features; `Sum` unless given.
        texts: path of a table, `clplat texts write` makes one; empty: the stand-in.
        number: sentences of each text; 0: all of a table, one of the stand-in.
        ratio: share of what attention adds, between 0 and 1.
        heads: of attention, at most.

    Raises:
        ValueError: no such table, a ratio outside (0, 1], fewer than one head, or an inner composer that
            reads more than pooled features.

    What is trained: ``4 D^2`` weights, and what of ``inner`` is.

    Reference:
        Maniparambil et al., "Enhancing CLIP with GPT-4: Harnessing Visual Descriptions as Prompts", ICCV
        Workshops 2023, arXiv:2307.11661, whose sentences are those of a class.

    Example:
        >>> from clplat.testing.tiny import tiny_backbone
        >>> composer = SelectedSentences()
        >>> composer.attach(Towers(tiny_backbone()))
        >>> shown = ImageFeatures(pooled=torch.ones(1, 24), keys=["bag.jpg"], captions=["a red bag"])
        >>> composer(shown, TextFeatures(texts=["is blue"])).shape
        torch.Size([1, 24])
    """

    def __init__(
        self,
        inner: Composer | None = None,
        texts: str = "",
        number: Annotated[int, Int(1, 5)] = 0,
        ratio: Annotated[float, Float(0.1, 1.0)] = 0.5,
        heads: int = 4,
    ) -> None:
        super().__init__(inner)
        self.needs_pooled()
        if not 0.0 < ratio <= 1.0 or heads < 1:
            raise ValueError(f"needs a ratio in (0, 1] and at least one head, not {ratio} and {heads}")
        self.ratio, self.heads, self.space = ratio, heads, TextSpace(texts, number)
        self.wants: Mapping[str, frozenset[str]] = {  # type: ignore[misc]
            "image": frozenset(self.inner.wants.get("image", ())) | NAMED,
            "text": frozenset({"input"}),
        }

    def attach(self, towers: Towers) -> None:
        """Make the attention, from torch's generator."""
        super().attach(towers)
        count = heads_fit(towers.joint, self.heads)
        self.among = nn.MultiheadAttention(towers.joint, count, batch_first=True)
        nn.init.zeros_(self.among.out_proj.weight)
        nn.init.zeros_(self.among.out_proj.bias)

    def forward(self, image: ImageFeatures, text: TextFeatures) -> Tensor:
        """Return what the inner composer makes of the picture and the chosen sentences.

        Raises:
            UserError: a picture of which no caption is known, texts that are known by their ids alone.
        """
        said = words_of(text, "selected_sentences")
        after = self.space.rewritten(image.keys, image.captions, said)
        query: Tensor = self.inner(image, TextFeatures(pooled=self.chosen(said, after)))
        return query

    def chosen(self, said: list[str], after: list[tuple[str, ...]]) -> Tensor:
        """What stands for each text (B, D).

        Args:
            said: the texts; after: the sentences of each.
        """
        rows, owners = texts_embedded(
            self.towers, [(one, *own) for one, own in zip(said, after, strict=True)]
        )
        counts = owners.bincount(minlength=len(said))
        places = torch.arange(len(rows), device=rows.device) - (counts.cumsum(0) - counts)[owners]
        width = int(counts.max()) if len(counts) else 0
        sentences = rows.new_zeros(len(said), width, rows.shape[1]).index_put((owners, places), rows)
        there = torch.arange(width, device=rows.device) < counts[:, None]
        read = self.among(sentences, sentences, sentences, key_padding_mask=~there, need_weights=False)[0]
        mixed = (1.0 - self.ratio) * sentences + self.ratio * normalize(sentences + read, dim=-1)
        return (mixed * there[..., None]).sum(1) / counts[:, None]
