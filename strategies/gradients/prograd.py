"""ProGrad: a step may not undo what a teacher knows."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from torch import Tensor, nn

from clplat.config.space import Float
from clplat.mechanisms.projection import ConeSteps
from clplat.mechanisms.relation import Relation
from clplat.models.outputs import as_outputs
from clplat.parts.teachers._base import TeacherPart, teacher_named
from clplat.training.strategy import Strategy, SupportsLearning

__all__ = ["ProGrad"]


class ProGrad(Strategy):
    """ProGrad: the part of a step that would take the model away from a teacher's answers is left out.

    ``g <- g - (g . k / k . k) k`` whenever ``g . k < 0``, with k the gradient of ``KL(softmax(S_teacher / T)
    || softmax(S_student / T))`` over the candidates of each query of the same batch. The KL itself is not
    descended on. What a step moves is held to the same: with AdamW it may point against k although the
    gradient does not.

    Args:
        teacher: of any kind, ``clplat list teachers``; by default the model before the stream.
        temperature: T, of similarities times each model's own logit scale.

    References:
        Zhu et al. 2023, Prompt-aligned Gradient for Prompt Tuning, ICCV 2023, arXiv 2205.14865.

    Needs:
        A learner with ``predict``. One more forward and backward pass per step.

    Relations:
        `Distill` descends on the divergence; this only forbids to climb it. `AGEM` has the gradient of stored
        exemplars in its place.

    Example:
        >>> from strategies import ProGrad
        >>> ProGrad(temperature=2.0).temperature
        2.0
    """

    stores = "weights"

    def __init__(
        self,
        teacher: TeacherPart | None = None,
        temperature: Annotated[float, Float(0.5, 4.0, log=True)] = 1.0,
    ) -> None:
        if not temperature > 0:
            raise ValueError(f"temperature must be above 0, not {temperature}")
        self.temperature = temperature
        self.teacher = teacher_named("initial" if teacher is None else teacher)
        self._relation = Relation("row", temperature, temperature)
        self._steps, self._batches = ConeSteps(), list[Any]()

    def before_experience(self, learner: SupportsLearning, experience: Any) -> None:
        self.teacher.begin(learner)
        self._batches = []

    def loss(self, learner: SupportsLearning, batch: Any, outputs: Any) -> dict[str, Tensor]:
        self._batches.append(batch)
        return {}

    def after_backward(self, learner: SupportsLearning) -> None:
        batches, self._batches = self._batches, []
        weights = [p for p in learner.model.parameters() if p.requires_grad and p.grad is not None]
        if batches and weights and self.teacher.knows:
            self._steps.before_step(weights, [self._reference(learner, batches, weights)])

    def _reference(
        self, learner: SupportsLearning, batches: list[Any], weights: list[nn.Parameter]
    ) -> list[Tensor]:
        """The gradient k of the batches of this step."""
        losses = []
        for batch in batches:
            other = self._logits(self.teacher.outputs(learner, batch))
            own = self._logits(learner.predict(batch))
            losses.append(self._relation(own[:, : other.shape[1]], other))
        loss = torch.stack(losses).mean()
        return learner.averaged(torch.autograd.grad(loss, weights, materialize_grads=True))

    @staticmethod
    def _logits(outputs: Any) -> Tensor:
        made: Any = as_outputs(outputs)
        return made if isinstance(made, Tensor) else made.scale * made.scores()

    def after_step(self, learner: SupportsLearning, batch: Any, outputs: Any) -> None:
        self._steps.after_step()
        self.teacher.follow(learner)
