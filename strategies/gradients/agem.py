"""A-GEM: project the gradient so that the loss on the memory does not grow."""

from __future__ import annotations

from typing import Annotated, Any

from clplat.config.space import Int
from clplat.mechanisms.memory import Memory, Policy
from clplat.mechanisms.memory.composition import enough
from clplat.mechanisms.projection import ConeSteps, task_gradient
from clplat.training.strategy import Strategy, SupportsLearning

__all__ = ["AGEM"]


class AGEM(Strategy):
    """Averaged gradient episodic memory: a step may not point against the gradient on stored exemplars.

    ``g <- g - (g . g_ref / g_ref . g_ref) g_ref`` whenever ``g . g_ref < 0``, with ``g_ref`` the gradient of
    the task loss on the memory, averaged over its domains. What a step moves is held to the same: with AdamW
    it may point against g_ref although the gradient does not.

    Args:
        size: exemplars in the memory, over all domains.
        batch_size: exemplars for the reference gradient, over all domains.
        policy: of the memory, as `Replay`'s.
        seed: of the memory; by default the experiment's.

    References:
        Chaudhry et al. 2019, Efficient Lifelong Learning with A-GEM, arXiv 1812.00420.

    Needs:
        A learner with ``predict`` and ``task_loss``.

    Relations:
        `Replay` descends on the memory's loss; this only forbids to climb it, and forgets more.

    Example:
        >>> from strategies import AGEM
        >>> AGEM(size=50).memory_bytes()
        0
    """

    stores = "exemplars"
    reads_data = True

    def __init__(
        self,
        size: Annotated[int, Int(50, 1000, log=True)] = 200,
        batch_size: int = 64,
        policy: Policy = "balanced",
        seed: int | None = None,
    ) -> None:
        self.size, self.batch_size, self.policy, self.seed = size, enough(batch_size), policy, seed
        self.memory = Memory(size, policy, seed or 0)
        self._steps = ConeSteps()

    def after_backward(self, learner: SupportsLearning) -> None:
        # A batch for each domain: in a mixed one, contrastive negatives are told apart by their style.
        stored = self.memory.sample_each(self.batch_size)
        if not stored:
            return
        weights = [p for p in learner.model.parameters() if p.requires_grad and p.grad is not None]
        reference = task_gradient(learner, stored, weights)
        self._steps.before_step(weights, [reference])

    def after_step(self, learner: SupportsLearning, batch: Any, outputs: Any) -> None:
        self._steps.after_step()

    def after_experience(self, learner: SupportsLearning, experience: Any) -> None:
        self.memory.add(learner, learner.data())

    def memory_bytes(self) -> int:
        return self.memory.bytes()
