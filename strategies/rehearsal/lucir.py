"""LUCIR: stored examples, features that keep their direction, and a margin between old and new."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from torch import Tensor

from clplat.config.space import Float, Int
from clplat.mechanisms.feature_match import feature_match
from clplat.mechanisms.memory import Memory
from clplat.mechanisms.memory.composition import enough, stored_batch
from clplat.mechanisms.teacher import Teacher
from clplat.models.outputs import are_embeddings, as_outputs
from clplat.training.strategy import Strategy, SupportsLearning

__all__ = ["LUCIR", "margin_loss"]


class LUCIR(Strategy):
    """Rehearsal that rebalances old and new, for embeddings.

    Three terms beside the task's loss: that of a batch of exemplars; ``less_forget``, 1 - cos between what
    the model and the one before the domain make of queries and targets, new and stored; ``margin``, by which
    every stored query is nearer to its target than to the nearest new candidates. Embeddings are unit
    vectors, so that old and new have one length, which is the method's first part.

    Args:
        size: exemplars in the memory, chosen by herding in equal shares of domains.
        batch_size: exemplars per step.
        less_forget: weight of that term, times the square root of the number of domains met before over the
            new one.
        margin: between the cosine with the target and those with new candidates.
        hardest: new candidates that each stored query is held apart from.
        apart: weight of the margin's term.
        seed: of the memory; by default the experiment's.

    References:
        Hou et al. 2019, Learning a Unified Classifier Incrementally via Rebalancing, CVPR 2019.

    Needs:
        A learner with ``predict`` and ``task_loss`` whose outputs are `clplat.parts.Outputs` or a pair of
        unit rows (B, D) and (C, D), the B targets first.

    Relations:
        `ICaRL` keeps similarities instead of directions; `FeatureDistill` is the second term alone.

    Example:
        >>> from strategies import LUCIR
        >>> LUCIR(size=100).memory_bytes()
        0
    """

    needs_embeddings = True
    terms = ("less_forget", "replay", "margin")
    stores = "exemplars"
    reads_data = True

    def __init__(
        self,
        size: Annotated[int, Int(50, 1000, log=True)] = 200,
        batch_size: int = 64,
        less_forget: Annotated[float, Float(0.1, 30.0, log=True)] = 5.0,
        margin: Annotated[float, Float(0.05, 1.0, log=True)] = 0.5,
        hardest: int = 2,
        apart: Annotated[float, Float(0.01, 10.0, log=True)] = 1.0,
        seed: int | None = None,
    ) -> None:
        if not (less_forget >= 0 and margin >= 0 and apart >= 0 and hardest >= 1):
            raise ValueError(
                "less_forget, margin and apart must be at least 0 and hardest at least 1, "
                f"not {less_forget}, {margin}, {apart} and {hardest}"
            )
        self.size, self.batch_size, self.seed = size, enough(batch_size), seed
        self.less_forget, self.margin, self.hardest, self.apart = less_forget, margin, hardest, apart
        self.memory = Memory(size, "herding", seed or 0)
        self._teacher = Teacher(which="previous")

    def before_experience(self, learner: SupportsLearning, experience: Any) -> None:
        self._teacher.update(learner.model, learner.pretrained)

    def loss(self, learner: SupportsLearning, batch: Any, outputs: Any) -> dict[str, Tensor]:
        if not are_embeddings(outputs):
            raise TypeError(
                "LUCIR needs embeddings, from batches of two sides, not logits: ICaRL takes those"
            )
        stored = stored_batch(self.memory, self.batch_size, outputs)
        if stored is None:
            return {}
        again = learner.predict(stored)
        apart = [self._moved(learner, b, made) for b, made in ((batch, outputs), (stored, again))]
        grown = len(self.memory.groups) ** 0.5
        return {
            "less_forget": self.less_forget * grown * torch.stack(apart).mean(),
            "replay": learner.task_loss(stored, again),
            "margin": self.apart * self._margin(stored, again, batch, outputs),
        }

    def _moved(self, learner: SupportsLearning, batch: Any, outputs: Any) -> Tensor:
        """How far queries and targets have turned since before the domain."""
        new, old = (as_outputs(one) for one in (outputs, self._teacher.outputs(learner, batch)))
        assert not isinstance(new, Tensor) and not isinstance(old, Tensor)
        count = len(new.query)
        sides = [(new.query, old.query), (new.candidates[:count], old.candidates[:count])]
        return torch.stack([feature_match(one, other) for one, other in sides]).mean()

    def _margin(self, stored: Any, again: Any, batch: Any, outputs: Any) -> Tensor:
        old, new = as_outputs(again), as_outputs(outputs)
        assert not isinstance(new, Tensor) and not isinstance(old, Tensor)
        count, fresh = len(old.query), new.candidates[: len(new.query)]
        right = old.scores("query", old.candidates[:count]).diagonal()
        wrong = old.scores("query", fresh)
        # What shows the same by its name is no wrong answer.
        names, others = (getattr(one, "labels", None) for one in (stored, batch))
        if names is not None and others is not None:
            same = [[bool(a) and a == b for b in others[: len(fresh)]] for a in names[:count]]
            wrong = wrong.masked_fill(torch.tensor(same, device=wrong.device), -torch.inf)
        return margin_loss(right, wrong, self.margin, self.hardest)

    def memory_bytes(self) -> int:
        return self.memory.bytes()

    def after_experience(self, learner: SupportsLearning, experience: Any) -> None:
        self.memory.add(learner, learner.data())


def margin_loss(right: Tensor, wrong: Tensor, margin: float, hardest: int) -> Tensor:
    """The mean of ``max(0, margin - right_i + wrong_ik)`` over the highest wrong scores k of each row i.

    Args:
        right: (B,) scores of the right answers.
        wrong: (B, C) scores of wrong ones; those of -inf do not count.
        margin: that is asked for.
        hardest: wrong scores of each row, all where there are fewer.

    Example:
        >>> margin_loss(torch.tensor([0.75]), torch.tensor([[0.5, 0.0, -0.5]]), margin=0.5, hardest=2)
        tensor(0.1250)
    """
    top = wrong.topk(min(hardest, wrong.shape[1]), dim=1).values
    return (margin - right[:, None] + top).clamp(min=0).mean()
