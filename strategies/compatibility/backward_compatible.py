"""Backward compatible: new queries keep finding their targets in the index that the old model made."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from clplat.config.space import Choice, Float
from clplat.mechanisms.teacher import Teacher
from clplat.models.outputs import are_embeddings
from clplat.parts.losses.info_nce import info_nce
from clplat.training.strategy import Strategy, SupportsLearning

__all__ = ["BackwardCompatible"]


class BackwardCompatible(Strategy):
    """Contrast new embeddings with the *old* model's, so that the gallery need not be embedded again.

    ``loss = weight * ( InfoNCE(q_new, c_old) + InfoNCE(c_new, c_old) )``

    The first term is the deployed case, new queries against the old index; the second ties every new picture
    embedding to its own old one, so that old and new items can stand in one index.

    Args:
        weight: of the term.
        temperature: of both contrasts.
        old: the model whose index must stay usable: before this domain, or before the stream.

    References:
        Shen et al. 2020 (BCT), arXiv 2003.11942; contrastive form as in Zhang et al. 2022 (hot-refresh),
        arXiv 2201.09724.

    Needs:
        A learner with ``predict`` whose outputs are `clplat.parts.Outputs`. A batch with ``positive`` and
        ``valid`` (B, C) and ``labels``, as `clplat.data.batch.Batch`, says more than that candidate i answers
        query i.

    Relations:
        A projection (`--projection procrustes`) repairs compatibility after training instead; both combine.

    Example:
        >>> from strategies import BackwardCompatible
        >>> BackwardCompatible(weight=0.5).weight
        0.5
    """

    needs_embeddings = True
    terms = ("compatible",)
    stores = "weights"

    def __init__(
        self,
        weight: Annotated[float, Float(0.1, 10.0, log=True)] = 1.0,
        temperature: Annotated[float, Float(0.01, 0.2, log=True)] = 0.05,
        old: Annotated[Literal["previous", "initial"], Choice("previous", "initial")] = "previous",
    ) -> None:
        if weight < 0:
            raise ValueError(f"weight must be at least 0, not {weight}")
        self.weight, self.temperature, self.old = weight, temperature, old
        self._teacher = Teacher(which=old)

    def before_experience(self, learner: SupportsLearning, experience: Any) -> None:
        self._teacher.update(learner.model, learner.pretrained)

    def loss(self, learner: SupportsLearning, batch: Any, outputs: Any) -> dict[str, Tensor]:
        if not are_embeddings(outputs):
            raise TypeError("BackwardCompatible needs embeddings, not logits: Distill takes those")
        if not self._teacher.knows:
            return {}
        with self._teacher.active(learner.model):
            index = learner.predict(batch).candidates
        scale = 1.0 / self.temperature
        logits = outputs.scores("query", index, scale)
        # A batch that does not say which candidates are right has one of each query, in its place.
        positive, valid = getattr(batch, "positive", None), getattr(batch, "valid", None)
        queries = info_nce(logits, positive=positive, valid=valid)
        # Two pictures of the same thing are no negatives of each other.
        named = getattr(batch, "labels", range(len(index)))
        labels = torch.tensor([[a == b for b in named] for a in named], device=index.device)
        pictures = info_nce(outputs.scores("candidates", index, scale), positive=labels)
        return {"compatible": self.weight * (queries + pictures)}
