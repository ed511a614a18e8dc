"""Sub-labels: what an example is called, and what a teacher takes it for, are one finer label."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from clplat.config.space import Float
from clplat.data.inputs import Texts
from clplat.errors import UserError
from clplat.models.features import POOLED
from clplat.models.outputs import are_embeddings, as_outputs
from clplat.parts.losses.info_nce import info_nce
from clplat.parts.teachers._base import TeacherPart, rows_of_items, teacher_named
from clplat.training.strategy import Strategy, SupportsLearning

__all__ = ["SubLabel"]


class SubLabel(Strategy):
    """Contrast by sub-pseudo labels: an answer has the target's label and the teacher takes it for the same.

    ``loss = weight * InfoNCE(query over candidates)``, both ways, with candidate j right for query i where
    ``(label_j, guess_j) = (label_i, guess_i)`` of its target. The label is the stream's, which may be weak;
    the guess is the nearest of the batch's labels, as texts, to the picture in a teacher's eyes. Where the
    teacher always agrees, these are the labels alone.

    Args:
        weight: of the term, which is all that is trained on.
        teacher: of any kind with features of pictures and texts, ``clplat list teachers``.
        template: what a label is called, ``{}`` being the label.

    References:
        Li et al. 2022 (SPL), Learning from Weakly-Labeled Web Videos via Exploring Sub-Concepts, AAAI 2022,
        arXiv 2101.03713.

    Needs:
        A `ComposedRetriever`, and batches that say what their candidates show.

    Relations:
        `Distill` learns all that a teacher says; here it divides what the labels join.

    Example:
        >>> from strategies import SubLabel
        >>> SubLabel().terms
        ('sub_label',)
    """

    any_module = False
    needs_embeddings = True
    replaces_task_loss = True
    terms = ("sub_label",)
    stores = "weights"

    def __init__(
        self,
        weight: Annotated[float, Float(0.25, 4.0, log=True)] = 1.0,
        teacher: TeacherPart | None = None,
        template: str = "a photo of a {}",
    ) -> None:
        if weight < 0 or "{}" not in template:
            raise ValueError(
                f"weight must be at least 0 and {{}} in the template, not {weight} and '{template}'"
            )
        self.weight, self.template = weight, template
        self.teacher = teacher_named("initial" if teacher is None else teacher)

    def before_experience(self, learner: SupportsLearning, experience: Any) -> None:
        if not hasattr(learner.model, "text_features"):
            raise UserError("sub_label needs a ComposedRetriever as the model, to embed texts")
        self.teacher.begin(learner)

    def loss(self, learner: SupportsLearning, batch: Any, outputs: Any) -> dict[str, Tensor]:
        if not are_embeddings(outputs):
            raise TypeError("SubLabel needs embeddings of two sides, not logits")
        own: Any = as_outputs(outputs)
        guesses = self.guesses(learner, batch)
        names = [*zip(batch.labels, guesses, strict=True)]
        same = [[names[i] == other for other in names] for i in range(len(batch))]
        positive = torch.tensor(same, device=own.query.device)
        logits = own.scores(scale=own.scale)
        valid = batch.valid.to(logits.device)
        return {"sub_label": self.weight * info_nce(logits, positive=positive, valid=valid, symmetric=True)}

    def guesses(self, learner: SupportsLearning, batch: Any) -> list[int]:
        """What the teacher takes each candidate for: places among the distinct labels of the batch."""
        model: Any = learner.model
        said = [self.template.format(label) for label in dict.fromkeys(batch.labels)]
        shown, _ = rows_of_items(self.teacher, learner, batch)
        words = self.teacher.text_features(learner, Texts(model.towers.tokenize(said)), POOLED).pooled
        nearest = shown[len(batch) :] @ normalize(words.float(), dim=-1).T
        found: list[int] = nearest.argmax(1).tolist()
        return found

    def after_step(self, learner: SupportsLearning, batch: Any, outputs: Any) -> None:
        self.teacher.follow(learner)
