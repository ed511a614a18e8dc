"""GEM: project the gradient so that the loss on no earlier domain grows."""

from __future__ import annotations

from typing import Annotated, Any

from clplat.config.space import Float, Int
from clplat.mechanisms.memory import Memory
from clplat.mechanisms.memory.composition import enough
from clplat.mechanisms.projection import ConeSteps, task_gradient
from clplat.training.strategy import Strategy, SupportsLearning

__all__ = ["GEM"]


class GEM(Strategy):
    """Gradient episodic memory: a step may not point against the gradient on any earlier domain's exemplars.

    ``g <- g + sum_k v_k g_k`` with the gradients ``g_k`` of the task loss on the memory of each domain k, and
    the least v with which ``g . g_k >= 0`` for all k: a quadratic program of as many unknowns as domains.
    Where none points against, g stays. What a step moves is held to the same, without the margin: with AdamW
    it may point against gradients with which its own agrees.

    Args:
        size: exemplars in the memory, over all domains, an equal share each.
        batch_size: exemplars for the gradients of a step, over all domains.
        margin: least value of every v, where there is a conflict: above 0 old domains are favoured.
        seed: of the memory; by default the experiment's.

    References:
        Lopez-Paz & Ranzato 2017, Gradient Episodic Memory for Continual Learning, arXiv 1706.08840.

    Needs:
        A learner with ``predict`` and ``task_loss``.

    Relations:
        `AGEM` has one gradient for all domains, which may forget some of them; a step costs one backward pass
        then, and here one for each domain.

    Example:
        >>> from strategies import GEM
        >>> GEM(margin=0.5).margin
        0.5
    """

    stores = "exemplars"
    reads_data = True

    def __init__(
        self,
        size: Annotated[int, Int(50, 1000, log=True)] = 200,
        batch_size: int = 64,
        margin: Annotated[float, Float(0.0, 2.0)] = 0.5,
        seed: int | None = None,
    ) -> None:
        if not margin >= 0:
            raise ValueError(f"margin must be at least 0, not {margin}")
        self.size, self.batch_size, self.margin, self.seed = size, enough(batch_size), margin, seed
        self.memory = Memory(size, "balanced", seed or 0)
        self._steps = ConeSteps(margin)

    def after_backward(self, learner: SupportsLearning) -> None:
        stored = self.memory.sample_each(self.batch_size)
        if not stored:
            return
        weights = [p for p in learner.model.parameters() if p.requires_grad and p.grad is not None]
        references = [task_gradient(learner, [batch], weights) for batch in stored]
        self._steps.before_step(weights, references)

    def after_step(self, learner: SupportsLearning, batch: Any, outputs: Any) -> None:
        self._steps.after_step()

    def after_experience(self, learner: SupportsLearning, experience: Any) -> None:
        self.memory.add(learner, learner.data())

    def memory_bytes(self) -> int:
        return self.memory.bytes()
