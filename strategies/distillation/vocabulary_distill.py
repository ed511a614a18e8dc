"""Vocabulary distillation: keep what an earlier model says of pictures and texts of random tokens."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from clplat.config.space import Choice, Float, Int
from clplat.data.inputs import Texts
from clplat.errors import UserError
from clplat.mechanisms.random_texts import random_texts
from clplat.mechanisms.relation import Relation
from clplat.mechanisms.teacher import Teacher
from clplat.training.strategy import Strategy, SupportsLearning

__all__ = ["VocabularyDistill"]


class VocabularyDistill(Strategy):
    """Relation distillation of the batch's candidates and a replayed vocabulary: no data is stored.

    ``loss = weight * T^2 * KL(softmax(S_teacher / T) || softmax(S_student / T))`` with S the logits of the
    candidates (rows) and of texts of random tokens (columns), some of a fixed list at every step; the logits
    are the model's scores times its logit scale.

    Args:
        weight: of the term.
        temperature: T of both softmaxes over logits.
        axis: softmax over the texts of a picture, over the pictures of a text, or both: published
            implementations differ.
        direction: of the divergence, where they differ as well.
        teacher: the model before this domain, or before the stream.
        sentences: texts of the list.
        length: tokens of each.
        texts: of the list that a step takes.
        seed: of the list and of the draws; by default the experiment's.

    References:
        Ding et al. 2022 (LwF-VR), Don't Stop Learning: Towards Continual Learning for the CLIP Model, arXiv
        2207.09248.

    Needs:
        A `ComposedRetriever`.

    Relations:
        `ReferenceDistill` takes pictures and texts beside the stream, `Distill` the batch itself.

    Example:
        >>> from strategies import VocabularyDistill
        >>> VocabularyDistill(texts=32).length
        10
    """

    any_module = False
    terms = ("vocabulary",)
    stores = "weights"

    def __init__(
        self,
        weight: Annotated[float, Float(0.1, 10.0, log=True)] = 1.0,
        temperature: Annotated[float, Float(0.5, 8.0, log=True)] = 2.0,
        axis: Literal["row", "column", "both"] = "row",
        direction: Literal["forward", "reversed", "cross_entropy"] = "forward",
        teacher: Annotated[Literal["previous", "initial"], Choice("previous", "initial")] = "previous",
        sentences: Annotated[int, Int(64, 2000, log=True)] = 1000,
        length: Annotated[int, Int(2, 20)] = 10,
        texts: Annotated[int, Int(16, 256, log=True)] = 64,
        seed: int | None = None,
    ) -> None:
        if not (weight >= 0 and temperature > 0 and length >= 1 and sentences >= texts >= 2):
            raise ValueError(
                "weight must be at least 0, temperature above 0, length at least 1, and texts at least 2 and "
                f"no more than sentences, not {weight}, {temperature}, {length}, {texts} of {sentences}"
            )
        self.weight, self.temperature, self.axis, self.direction = weight, temperature, axis, direction
        self.teacher, self.sentences, self.length, self.texts = teacher, sentences, length, texts
        self.seed = seed
        self.relation = Relation(axis, temperature, temperature, direction, scale_by_t2=True)
        self._teacher = Teacher(which=teacher)
        self._list: Texts | None = None

    def before_experience(self, learner: SupportsLearning, experience: Any) -> None:
        if not hasattr(learner.model, "encode_texts"):
            raise UserError("vocabulary_distill needs a ComposedRetriever as the model, to embed texts")
        self._teacher.update(learner.model, learner.pretrained)

    def loss(self, learner: SupportsLearning, batch: Any, outputs: Any) -> dict[str, Tensor]:
        if not self._teacher.knows:
            return {}
        model: Any = learner.model
        said = self._drawn(learner)
        with self._teacher.active(model):
            old = learner.predict(batch)
            scores = old.scores("candidates", model.encode_texts(said), old.scale)
        words = model.encode_texts(said)
        new = outputs.scores("candidates", words, outputs.scale.detach())
        return {"vocabulary": self.weight * self.relation(new, scores)}

    def _drawn(self, learner: SupportsLearning) -> Texts:
        """The texts of this step."""
        model: Any = learner.model
        seed = self.seed or 0
        if self._list is None:
            self._list = random_texts(model.backbone, self.sentences, self.length, seed)
        draw = learner.progress.generator(seed, "vocabulary")
        chosen = torch.randperm(self.sentences, generator=draw)[: self.texts].tolist()
        return self._list.part(chosen).to(next(model.parameters()).device)
