"""Replay: rehearse stored exemplars of earlier domains."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from torch import Tensor

from clplat.config.space import Choice, Float, Int
from clplat.mechanisms.examples import length
from clplat.mechanisms.memory import Memory
from clplat.mechanisms.memory.composition import enough, stored_batch
from clplat.training.strategy import Strategy, SupportsLearning

__all__ = ["Replay"]


class Replay(Strategy):
    """Experience replay: the task loss on a batch of stored exemplars is added to every step.

    ``loss = task(batch) + weight * task(memory batch)``, or by ``combine="mean"`` the mean over the examples
    of both, those of the memory counting ``weight`` each

    The memory batch is a term of its own, so that the number of in-batch negatives of the current domain
    does not change; one step costs about twice a step of `Naive`. What a memory batch is made of follows from
    the loss: the examples of a contrastive loss are each other's negatives, and those of another domain are
    too easy; a softmax over classes needs all classes against each other in every step.

    Args:
        size: exemplars in the memory, over all domains.
        batch_size: exemplars per step.
        weight: of the replay term.
        policy: ``"reservoir"`` gives every example an equal chance; by the others every domain has an equal
            share, drawn (``"balanced"``), of the newest (``"ring"``), or of a coreset: ``"herding"``,
            ``"kmeans"``, ``"mean"`` (nearest to the mean of features), ``"gradients"`` (GSS) or
            ``"coverage"`` (ClipCov). A ``"queue"`` has the newest of all.
        domains: that a memory batch is drawn from: ``"one"``, ``"all"`` together, or by what the model puts
            out (``"auto"``): one for embeddings, all for logits.
        combine: ``"sum"`` adds to the step of the new domain; ``"mean"`` is the loss of one batch of both,
            as in the paper and in Avalanche.
        per: what has a share: an experience, or a class for examples ``(x, y, ...)`` with an integer y.
        seed: of the memory; by default the experiment's.

    References:
        Chaudhry et al. 2019, On Tiny Episodic Memories in Continual Learning, arXiv 1902.10486.

    Needs:
        A learner with ``predict`` and ``task_loss``.

    Relations:
        `AGEM` uses the same memory as a constraint on the gradient; `Cumulative` is the unbounded limit.

    Example:
        >>> from strategies import Replay
        >>> Replay(size=100).memory_bytes()
        0
    """

    terms = ("replay",)
    stores = "exemplars"
    reads_data = True

    def __init__(
        self,
        size: Annotated[int, Int(50, 1000, log=True)] = 200,
        batch_size: int = 64,
        weight: Annotated[float, Float(0.25, 4.0, log=True)] = 1.0,
        policy: Annotated[  # written out, as `Policy` is: the command line reads it without importing torch
            Literal[
                "balanced", "reservoir", "queue", "ring", "herding", "kmeans", "mean", "gradients", "coverage"
            ],
            Choice("balanced", "reservoir"),
        ] = "balanced",
        seed: int | None = None,
        domains: Literal["auto", "one", "all"] = "auto",
        combine: Literal["sum", "mean"] = "sum",
        per: Literal["experience", "class"] = "experience",
    ) -> None:
        if weight < 0:
            raise ValueError(f"weight must be at least 0, not {weight}")
        self.size, self.batch_size, self.weight = size, enough(batch_size), weight
        self.policy, self.seed, self.domains, self.combine, self.per = policy, seed, domains, combine, per
        self.memory = Memory(size, policy, seed or 0, per)

    def loss(self, learner: SupportsLearning, batch: Any, outputs: Any) -> dict[str, Tensor]:
        stored = stored_batch(self.memory, self.batch_size, outputs, self.domains)
        if stored is None:
            return {}
        replayed = learner.task_loss(stored, learner.predict(stored))
        if self.combine == "sum":
            return {"replay": self.weight * replayed}
        share = self.weight * length(stored)
        share = share / (share + length(batch))
        return {"replay": share * (replayed - learner.task_loss(batch, outputs))}

    def after_experience(self, learner: SupportsLearning, experience: Any) -> None:
        self.memory.add(learner, learner.data())

    def memory_bytes(self) -> int:
        return self.memory.bytes()
