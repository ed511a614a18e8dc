"""What a router sees of a data set: features of its pictures, or texts, under the bare base."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from clplat.models.frozen import weights_fixed
from clplat.retriever import ComposedRetriever
from clplat.training.hooks import SupportsLearning

__all__ = ["fit_prompts", "looked_at", "looked_at_texts"]


@torch.no_grad()
def looked_at(learner: SupportsLearning, retriever: ComposedRetriever, data: Any) -> Tensor:
    """Pooled features (N, D) of the pictures of a data set, those of queries and of candidates."""
    with weights_fixed():
        return torch.cat([retriever.look(batch.pictures).pooled for batch in _batches(learner, data)])


@torch.no_grad()
def looked_at_texts(learner: SupportsLearning, retriever: ComposedRetriever, data: Any) -> Tensor:
    """The same of its texts; none (0, D) where there are none."""
    with weights_fixed():
        said = [batch.texts for batch in _batches(learner, data)]
        found = [retriever.look_at_texts(texts).pooled for texts in said if len(texts)]
        return torch.cat(found) if found else torch.empty(0, retriever.backbone.embed_dim)


def fit_prompts(learner: SupportsLearning, retriever: ComposedRetriever, data: Any) -> None:
    """Show the prompts in use what they want to see of an experience before it is trained."""
    for tower, look in (("image_prompt", looked_at), ("text_prompt", looked_at_texts)):
        prompt = getattr(retriever.backbone, tower)
        if prompt is not None and prompt.fits:
            prompt.fit(look(learner, retriever, data))


def _batches(learner: SupportsLearning, data: Any) -> Iterator[Any]:
    for start in range(0, len(data), 128):
        yield learner.collate([data[i] for i in range(start, min(start + 128, len(data)))])
