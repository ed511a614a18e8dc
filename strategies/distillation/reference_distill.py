"""Reference distillation: keep what an earlier model sees in data that has nothing to do with the stream."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from torch import Tensor

from clplat.config.space import Choice, Float, Int
from clplat.errors import UserError
from clplat.mechanisms.relation import Relation
from clplat.mechanisms.teacher import Teacher
from clplat.training.strategy import Strategy, SupportsLearning

__all__ = ["ReferenceDistill"]


class ReferenceDistill(Strategy):
    """Relation distillation on pictures and texts beside the stream, which need not belong to each other.

    ``loss = weight * T^2 * (KL_row(S_teacher / T || S_student / T) + KL_column(...))`` with S the logits of
    reference pictures (rows) and reference texts (columns), drawn apart at every step; the logits are the
    model's scores times its logit scale.

    Args:
        weight: of the term.
        temperature: T of both softmaxes over logits.
        teacher: the model before the stream, or before this domain.
        pictures: reference pictures per step.
        texts: reference texts per step.
        student_texts: whether the student's side has its own embeddings of the texts, or the teacher's: then
            only the image tower is held.

    References:
        Zheng et al. 2023 (ZSCL), Preventing Zero-Shot Transfer Degradation in Continual Learning of
        Vision-Language Models, arXiv 2303.06628.

    Needs:
        A `ComposedRetriever`, and data beside the stream (``--reference``).

    Relations:
        `Distill` holds the relations of the training batch instead. ZSCL is this with `WeightAverage` and
        `L2Anchor`.

    Example:
        >>> from strategies import ReferenceDistill
        >>> ReferenceDistill(pictures=32).reads_reference
        True
    """

    any_module = False
    reads_reference = True
    terms = ("reference",)
    stores = "weights"

    def __init__(
        self,
        weight: Annotated[float, Float(0.1, 10.0, log=True)] = 1.0,
        temperature: Annotated[float, Float(0.5, 8.0, log=True)] = 2.0,
        teacher: Annotated[Literal["initial", "previous"], Choice("initial", "previous")] = "initial",
        pictures: Annotated[int, Int(16, 128, log=True)] = 64,
        texts: Annotated[int, Int(16, 256, log=True)] = 64,
        student_texts: bool = False,
    ) -> None:
        if not (weight >= 0 and temperature > 0 and pictures >= 2 and texts >= 2):
            raise ValueError(
                "weight must be at least 0, temperature above 0, pictures and texts at least 2, "
                f"not {weight}, {temperature}, {pictures} and {texts}"
            )
        self.weight, self.temperature, self.teacher = weight, temperature, teacher
        self.pictures, self.texts, self.student_texts = pictures, texts, student_texts
        self.relation = Relation("both", temperature, temperature, scale_by_t2=True)
        self._teacher = Teacher(which=teacher)

    def before_experience(self, learner: SupportsLearning, experience: Any) -> None:
        if learner.reference is None:
            raise UserError("reference_distill needs data beside the stream: Learner(..., reference=...)")
        self._teacher.update(learner.model)

    def loss(self, learner: SupportsLearning, batch: Any, outputs: Any) -> dict[str, Tensor]:
        assert learner.reference is not None
        pictures, texts = learner.reference.sample(learner.progress, self.pictures, self.texts)
        with self._teacher.active(learner.model):
            shown, said = learner.items(pictures), learner.items(texts)
        words = learner.items(texts) if self.student_texts else said
        scale = outputs.scale.detach()
        old = outputs.scores(shown, said, scale)
        new = outputs.scores(learner.items(pictures), words, scale)
        # The relation's loss is the mean of both directions, ZSCL's their sum.
        return {"reference": 2.0 * self.weight * self.relation(new, old)}
