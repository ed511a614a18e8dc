"""Tower distillation: each tower follows a teacher of its own, on pictures and texts that are no pairs."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from clplat.config.space import Choice, Float, Int
from clplat.data.inputs import Images, Texts
from clplat.errors import UserError
from clplat.mechanisms.feature_match import feature_match
from clplat.mechanisms.projector import Projector
from clplat.mechanisms.random_texts import random_texts
from clplat.models.features import POOLED
from clplat.parts.teachers._base import TeacherPart, teacher_named
from clplat.training.strategy import Strategy, SupportsLearning

__all__ = ["TowerDistill"]


class TowerDistill(Strategy):
    """Pooled features of pictures and of texts beside the stream follow two teachers, each tower its own.

    ``loss = weight * (match(h_I(f(x)), f'(x)) + match(h_T(g(y)), g'(y))) / 2`` with pictures x and texts y
    drawn apart at every step, see `clplat.mechanisms.feature_match.feature_match`. Where a teacher is of
    another width, h is a linear projector that is trained beside the model.

    Args:
        weight: of the term.
        image_teacher: of pictures, ``clplat list teachers``.
        text_teacher: of texts.
        form: ``cosine``, ``mse`` or ``correlation``, of the pictures or texts of a step among each other.
        pictures: reference pictures per step.
        texts: texts per step.
        words: ``reference``: the texts beside the stream; ``random``: texts of random tokens.
        length: tokens of a random text.
        seed: of draws and projectors; by default the experiment's.

    References:
        Tao et al. 2025 (HoVLE), Unleashing the Power of Monolithic Vision-Language Models with Holistic
        Vision-Language Embedding, arXiv 2412.16158.

    Needs:
        A `ComposedRetriever`, and data beside the stream (``--reference``).

    Relations:
        `ReferenceDistill` keeps how pictures and texts relate; here each tower is held by itself.

    Example:
        >>> from strategies import TowerDistill
        >>> TowerDistill(words="random").length
        8
    """

    any_module = False
    reads_reference = True
    terms = ("towers",)
    stores = "weights"

    def __init__(
        self,
        weight: Annotated[float, Float(0.1, 30.0, log=True)] = 1.0,
        image_teacher: TeacherPart | None = None,
        text_teacher: TeacherPart | None = None,
        form: Annotated[
            Literal["cosine", "mse", "correlation"], Choice("cosine", "mse", "correlation")
        ] = "cosine",
        pictures: Annotated[int, Int(8, 128, log=True)] = 32,
        texts: Annotated[int, Int(8, 128, log=True)] = 32,
        words: Literal["reference", "random"] = "reference",
        length: int = 8,
        seed: int | None = None,
    ) -> None:
        if not (weight >= 0 and min(pictures, texts) >= 2 and length >= 1):
            raise ValueError(
                "weight must be at least 0, pictures and texts at least 2 and length at least 1, not "
                f"{weight}, {pictures}, {texts} and {length}"
            )
        self.weight, self.form, self.pictures, self.texts = weight, form, pictures, texts
        self.words, self.length, self.seed = words, length, seed
        self.image_teacher = teacher_named("initial" if image_teacher is None else image_teacher)
        self.text_teacher = teacher_named("initial" if text_teacher is None else text_teacher)
        self._image_projector, self._text_projector = Projector(seed=seed or 0), Projector(seed=seed or 0)

    def before_experience(self, learner: SupportsLearning, experience: Any) -> None:
        if learner.reference is None:
            raise UserError("tower_distill needs data beside the stream: Learner(..., reference=...)")
        if not hasattr(learner.model, "text_features"):
            raise UserError("tower_distill needs a ComposedRetriever as the model, to run its towers")
        for teacher in (self.image_teacher, self.text_teacher):
            teacher.begin(learner)

    def loss(self, learner: SupportsLearning, batch: Any, outputs: Any) -> dict[str, Tensor]:
        if not (self.image_teacher.knows and self.text_teacher.knows):
            return {}
        model: Any = learner.model
        images, texts = self._drawn(learner)
        seen = self.image_teacher.image_features(learner, images, POOLED).pooled
        read = self.text_teacher.text_features(learner, texts, POOLED).pooled
        terms = [
            self._match(model.image_features(images).pooled, seen, self._image_projector),
            self._match(model.text_features(texts).pooled, read, self._text_projector),
        ]
        return {"towers": self.weight * torch.stack(terms).mean()}

    def _match(self, own: Tensor, other: Tensor, projector: Projector) -> Tensor:
        if self.form != "correlation" and own.shape[1] != other.shape[1]:
            own = projector(own, other.shape[1])
        return feature_match(own, other, self.form)

    def _drawn(self, learner: SupportsLearning) -> tuple[Images, Texts]:
        """Pictures and texts of this step, drawn apart."""
        assert learner.reference is not None
        shown, said = learner.reference.sample(learner.progress, self.pictures, self.texts)
        model: Any = learner.model
        device = next(model.parameters()).device
        images, texts = learner.inputs(shown)[0].value, learner.inputs(said)[1].value
        if self.words == "random":
            draw = learner.progress.generator(self.seed or 0, "words").initial_seed()
            texts = random_texts(model.backbone, self.texts, self.length, draw)
        return images, texts.to(device)

    def after_step(self, learner: SupportsLearning, batch: Any, outputs: Any) -> None:
        for teacher in (self.image_teacher, self.text_teacher):
            teacher.follow(learner)
        for projector in (self._image_projector, self._text_projector):
            projector.step(learner.averaged)
