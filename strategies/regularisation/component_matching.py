"""Primary-component matching: short texts are matched to what is left of pictures without their details."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Annotated, Any

from torch import Tensor

from clplat.config.space import Float, Int
from clplat.data.batch import Batch
from clplat.data.columns import Column
from clplat.data.inputs import Texts
from clplat.errors import UserError
from clplat.mechanisms.components import leading_part
from clplat.parts.losses.info_nce import info_nce
from clplat.randomness import seeded
from clplat.retriever import ComposedRetriever
from clplat.training.strategy import Strategy, SupportsLearning

__all__ = ["ComponentMatching", "shortened"]


class ComponentMatching(Strategy):
    """Keeps short texts able while long ones are learnt, as in Long-CLIP.

    ``loss = weight * InfoNCE(scale * t_short P(v)^T)``, both ways, with P the pictures of the batch rebuilt
    from their ``count`` leading principal components, and t_short the batch's texts (of a triplet: the
    queries) as `shortened` makes them. The task's own loss matches pictures as they are to whole texts.
    Rebuilt pictures are not normalised anew.

    Args:
        weight: of the term.
        count: components that are kept; with as many as the batch has rows, pictures stay as they are.

    Raises:
        ValueError: a weight below 0, or no component.

    References:
        Zhang et al., "Long-CLIP: Unlocking the Long-Text Capability of CLIP", ECCV 2024, arXiv 2403.15378.

    Needs:
        A `ComposedRetriever`. A step costs another pass of the texts, and of triplets one of the pictures.

    Example:
        >>> ComponentMatching(count=8).terms
        ('components',)
    """

    any_module = False
    terms = ("components",)

    def __init__(
        self,
        weight: Annotated[float, Float(0.1, 10.0, log=True)] = 1.0,
        count: Annotated[int, Int(4, 64, log=True)] = 32,
    ) -> None:
        if not (weight >= 0 and count >= 1):
            raise ValueError(f"weight must be at least 0 and count at least 1, not {weight} and {count}")
        self.weight, self.count = weight, count

    def loss(self, learner: SupportsLearning, batch: Any, outputs: Any) -> dict[str, Tensor]:
        model = learner.model
        if not isinstance(model, ComposedRetriever):
            raise UserError("component_matching needs a ComposedRetriever as the model: it shortens texts")
        short, place = _short(model, batch), learner.progress
        with seeded(0, "short texts", place.experience, place.step):  # of dropout in a composer
            scores = self._scores(learner, model, short, batch, outputs)
        found = info_nce(
            outputs.scale * scores,
            positive=batch.positive,
            valid=batch.valid,
            weights=batch.weights,
            symmetric=True,
        )
        return {"components": self.weight * found}

    def _scores(
        self, learner: SupportsLearning, model: ComposedRetriever, short: Texts, batch: Batch, outputs: Any
    ) -> Tensor:
        """Of queries and candidates; not scaled, since scaled ones are those of normalised rows."""
        if batch.composed:
            query = learner.predict(_with_texts(batch, short)).query
            found: Tensor = outputs.scores(query, leading_part(outputs.candidates, self.count))
            return found
        if any(row >= 0 for row in batch.text_rows[: len(batch)]):
            raise UserError("component_matching takes triplets, or pictures with their captions as targets")
        said = model.encode_texts(short)[batch.text_rows[len(batch) :]]
        found = outputs.scores(leading_part(outputs.query, self.count), said)
        return found


def shortened(text: str) -> str:
    """The first sentence of a text, or of a single one its first clause.

    Example:
        >>> shortened("A red dress. It has long sleeves."), shortened("is blue, and has no collar")
        ('A red dress.', 'is blue')
    """
    first, *others = re.split(r"(?<=[.!?])\s+", text.strip(), maxsplit=1)
    return first if others else re.split(r"[,;]\s+", first, maxsplit=1)[0]


def _short(model: ComposedRetriever, batch: Batch) -> Texts:
    said = [shortened(text) for text in batch.texts.said]
    ids = model.backbone.tokenize(said)
    return Texts(ids, said=said).to(batch.texts.ids.device)


def _with_texts(batch: Batch, texts: Texts) -> Batch:
    column: Column[Any] = replace(batch.columns["texts"], value=texts)
    return Batch({**batch.columns, "texts": column}, batch.owners)
