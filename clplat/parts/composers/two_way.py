"""Two ways: the answer and the text read backwards lead to the reference, beside the way that is asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from clplat.config.space import Float
from clplat.errors import UserError
from clplat.mechanisms.contrast import alike, cosines, nce
from clplat.mechanisms.pseudo_words import Template
from clplat.models.view import Towers
from clplat.parts.composers._around import Around
from clplat.parts.composers._base import Composer

__all__ = ["TwoWay"]


class TwoWay(Around):
    """Teaches an inner composer the way back, by a learnt word before the text: ``F(answer, "<back> text")``.

    The term ``back`` is the contrastive loss of these queries and the references, as candidates are in the
    gallery, at the model's scale; references of the batch are each other's negatives. Queries are the inner
    composer's and know nothing of it.

    Args:
        inner: F, one that does not put words of its own before the text.
        weight: of the term.

    Raises:
        ValueError: a weight that is no number of at least 0, an inner composer that reads the text's input.

    What is trained: the word, drawn by torch's generator in `attach`, and what of ``inner`` is. A step makes
    one pass of the text tower more.

    Reference:
        Liu et al., "Bi-directional Training for Composed Image Retrieval via Text Prompt Learning", WACV
        2024, arXiv:2303.16604; Levy et al., "Data Roaming and Quality Assessment for Composed Image
        Retrieval" (CASE), AAAI 2024, arXiv:2303.09429.

    Example:
        >>> from clplat.testing.tiny import tiny_backbone
        >>> composer = TwoWay(weight=0.4)
        >>> composer.attach(Towers(tiny_backbone()))
        >>> composer.word.shape
        torch.Size([1, 48])
    """

    def __init__(
        self, inner: Composer | None = None, weight: Annotated[float, Float(0.05, 1.0, log=True)] = 0.4
    ) -> None:
        super().__init__(inner)
        if not 0.0 <= weight < float("inf"):
            raise ValueError(f"weight must be a number of at least 0, not {weight}")
        if "input" in self.wants["text"]:
            raise ValueError(f"inner must read features of the text, as {type(self.inner).__name__} does not")
        self.weight = weight
        more: Mapping[str, frozenset[str]] = self.inner.learns_from
        self.learns_from = {  # type: ignore[misc]
            **more,
            "image": more.get("image", frozenset()) | self.target_wants,
            "text": more.get("text", frozenset()) | {"input"},
            "answer": more.get("answer", frozenset()) | self.wants["image"],
        }

    def attach(self, towers: Towers) -> None:
        """Attach the inner composer, and draw the word.

        Raises:
            UserError: the text tower takes no embeddings.
        """
        super().attach(towers)
        if not towers.text_tokens:
            raise UserError("two_way needs a causal CLIP text tower, which takes embeddings")
        self._sentence = Template(towers, "*")
        self.word = nn.Parameter(torch.empty(1, towers.text_tokens).normal_(std=0.02))

    def terms(self, batch: Any, outputs: Any) -> dict[str, Tensor]:
        """``back``, beside the inner composer's."""
        terms, seen = self.inner.terms(batch, outputs), outputs.triplets
        if seen is None or not self.weight:
            return terms
        ids = seen.text.input_ids
        said = self._sentence.features(self.word.expand(len(seen), -1, -1), ids, self.wants["text"])
        query = self.inner(seen.answer, replace(said, texts=seen.text.texts))
        scores = self.towers.scale * cosines(query, self.inner.target(seen.reference))
        names = seen.reference.keys or [str(row) for row in seen.rows]
        return terms | {"back": self.weight * nce(scores, alike(names, scores.device))}
