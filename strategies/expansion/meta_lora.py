"""PERK's outer loop: a start from which a few steps on a domain's examples are enough."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from clplat.config.space import Float, Int
from clplat.mechanisms.teacher import snapshot
from clplat.models.names import named_parameters
from clplat.randomness import seeded
from clplat.training.strategy import Strategy, SupportsLearning

__all__ = ["MetaLoRA"]


class MetaLoRA(Strategy):
    """Trains what is trained, by default a LoRA, as a start: after a few steps it shall answer other queries.

    Inner loop, from the start theta, on other support examples each: ``phi <- phi - rate * grad L_support``,
    ``steps`` times. Outer loss: that of the step's own batch, the queries, at phi; its gradient there is the
    optimizer's gradient at theta. That is the truncated gradient of PERK with no step of the inner loop in it
    (first order, as first-order MAML). The plain gradient at theta is computed and not used.

    When a domain ends, the start is put aside and the model takes as many inner steps on the domain's own
    examples: that is what is measured. The next domain goes on from the start.

    Args:
        steps: of the inner loop.
        rate: of its plain descent.
        support: examples of an inner step.
        seed: of what the support is drawn with; that of the experiment unless given.

    Raises:
        ValueError: fewer than one step or two support examples, a rate that is not positive.

    References:
        Chen et al., "PERK: Long-Context Reasoning as Parameter-Efficient Test-Time Learning", arXiv
        2507.06415; first order: Finn et al. 2017 (MAML), arXiv 1703.03400.

    Numbers:
        ``gap``: by how much the last inner step after a domain lowers the loss of what it was made on.

    Needs:
        A learner with ``predict`` and ``task_loss``, and data that can be indexed.

    Relations:
        `Naive` trains on the same batches without the inner loop.

    Example:
        >>> MetaLoRA(steps=2).steps
        2
    """

    stores = "weights"
    reads_gradient = True
    reads_data = True
    state = ("_start", "_gap")

    def __init__(
        self,
        steps: Annotated[int, Int(1, 8)] = 2,
        rate: Annotated[float, Float(1e-4, 0.1, log=True)] = 0.005,
        support: Annotated[int, Int(8, 128, log=True)] = 32,
        seed: int | None = None,
    ) -> None:
        if steps < 1 or support < 2 or not rate > 0:
            raise ValueError(
                f"needs steps >= 1, support >= 2 and rate > 0, not {steps}, {support} and {rate}"
            )
        self.steps, self.rate, self.support, self.seed = steps, rate, support, seed
        self._start: dict[str, Tensor] = {}
        self._gap = 0.0
        self._batches: list[Any] = []

    def before_experience(self, learner: SupportsLearning, experience: Any) -> None:
        _put(learner.model, self._start)

    def loss(self, learner: SupportsLearning, batch: Any, outputs: Any) -> dict[str, Tensor]:
        self._batches.append(batch)
        return {}

    def after_backward(self, learner: SupportsLearning) -> None:
        batches, self._batches = self._batches, []
        start = snapshot(learner.model)
        self._adapt(learner)
        trained = _trained(learner.model)
        sums = [torch.zeros_like(parameter) for parameter in trained]
        for batch in batches:
            loss = learner.task_loss(batch, learner.predict(batch))
            found = torch.autograd.grad(loss, trained, materialize_grads=True)
            for total, gradient in zip(sums, found, strict=True):
                total += gradient / len(batches)
        _put(learner.model, start)
        for parameter, gradient in zip(trained, learner.averaged(sums), strict=True):
            if parameter.grad is not None:
                parameter.grad.copy_(gradient)

    def after_experience(self, learner: SupportsLearning, experience: Any) -> None:
        self._start = snapshot(learner.model)
        self._gap = self._adapt(learner, measure=True)

    def numbers(self) -> dict[str, float]:
        return {"gap": self._gap} if self._start else {}

    def _adapt(self, learner: SupportsLearning, measure: bool = False) -> float:
        """Take the inner steps; by how much the last one lowers the loss of what it was made on."""
        data, trained = learner.data(), _trained(learner.model)
        draw = learner.progress.generator(self.seed or 0, "support")
        place = learner.progress
        # Dropout draws from torch's generator, which is nobody's when a domain has ended.
        with seeded(self.seed or 0, "inner steps", place.experience, place.step):
            for _ in range(self.steps):
                rows = torch.randperm(len(data), generator=draw)[: self.support].tolist()
                batch = learner.collate([data[row] for row in rows])
                loss = learner.task_loss(batch, learner.predict(batch))
                found = learner.averaged(torch.autograd.grad(loss, trained, materialize_grads=True))
                with torch.no_grad():
                    for parameter, gradient in zip(trained, found, strict=True):
                        parameter.sub_(gradient, alpha=self.rate)
            if not measure:
                return 0.0
            with torch.no_grad():
                after = learner.task_loss(batch, learner.predict(batch))
                before, after = learner.averaged([loss.detach(), after])
                return float(before) - float(after)


def _trained(model: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


@torch.no_grad()
def _put(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Put tensors back by their names."""
    named = dict(named_parameters(model))
    for name, tensor in tensors.items():
        if name in named:
            named[name].copy_(tensor)
