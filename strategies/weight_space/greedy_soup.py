"""Greedy soup: of the models of all domains, the mean of those that help on examples kept for choosing."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from torch import Tensor
from torch.utils.data import Subset

from clplat.config.space import Int
from clplat.mechanisms.examples import join_examples
from clplat.mechanisms.memory import Memory
from clplat.mechanisms.merging import Weights, added, greedy_soup, mean
from clplat.mechanisms.task_vectors import TaskVectors
from clplat.mechanisms.teacher import Teacher, snapshot
from clplat.mechanisms.weight_space import set_weights
from clplat.training.strategy import Strategy, SupportsLearning

__all__ = ["GreedySoup"]


class GreedySoup(Strategy):
    """Every domain is trained from the first weights; the models that help one another are averaged.

    One example in ``every`` of a domain is never trained on; as many of them as the memory holds are kept.
    After each domain the models of all domains are ordered by how well they do on what is kept of all; the
    best one is the soup, and each other in turn is added if the mean with it is no worse. How well is the
    mean over domains of the task's loss.

    Args:
        every: of how many examples one is kept for choosing.
        size: examples that are kept, in equal shares of domains.
        batch_size: of what is kept: the candidates of a batch are each other's negatives.
        seed: of which are kept, where there are too many; by default the experiment's.

    References:
        Wortsman et al. 2022, Model soups: averaging weights of multiple fine-tuned models improves accuracy
        without increasing inference time, arXiv 2203.05482: its recipe 1, of domains in place of settings.

    Numbers:
        ``share <domain>``: of its model in the soup.

    Needs:
        Experiences with a ``dataset``; a learner with ``predict`` and ``task_loss``.

    Relations:
        `Merge` takes the mean of all, with nothing kept.

    Example:
        >>> from strategies import GreedySoup
        >>> GreedySoup(every=20).memory_bytes()
        0
    """

    stores = "exemplars"
    state = ("_shares",)

    def __init__(
        self,
        every: Annotated[int, Int(5, 50, log=True)] = 10,
        size: Annotated[int, Int(50, 1000, log=True)] = 200,
        batch_size: int = 64,
        seed: int | None = None,
    ) -> None:
        if every < 2 or batch_size < 1:
            raise ValueError(
                f"every must be at least 2 and batch_size at least 1, not {every} and {batch_size}"
            )
        self.every, self.size, self.batch_size, self.seed = every, size, batch_size, seed
        self.memory = Memory(size, "balanced", seed or 0)
        self._changes = TaskVectors()
        self._shares: list[float] = []

    def before_experience(self, learner: SupportsLearning, experience: Any) -> None:
        self._changes.begin(learner.model)

    def training_set(self, experience: Any) -> Any:
        data = experience.dataset
        kept = {*self._kept(data)}
        rows = [i for i in range(len(data)) if i not in kept]
        # Avalanche's data sets and those of Hugging Face stay what they are.
        choose = getattr(data, "subset", getattr(data, "select", None))
        return Subset(data, rows) if choose is None else choose(rows)

    def after_backward(self, learner: SupportsLearning) -> None:
        self._changes.follow(learner.model)

    def after_experience(self, learner: SupportsLearning, experience: Any) -> None:
        data = experience.dataset
        self.memory.add(learner, Subset(data, self._kept(data)))
        self._changes.end(learner.model)
        models = [added(self._changes.base, vector, 1.0) for vector in self._changes.vectors]
        with torch.no_grad():
            chosen = greedy_soup(models, lambda one: self._score(learner, one))
            set_weights(learner.model, mean([models[i] for i in chosen]))
        self._shares = [(i in chosen) / len(chosen) for i in range(len(models))]

    def numbers(self) -> dict[str, float]:
        return {f"share {domain}": share for domain, share in enumerate(self._shares)}

    def _kept(self, data: Any) -> list[int]:
        """Rows of a domain that are not trained on."""
        return [*range(self.every - 1, len(data), self.every)]

    def _score(self, learner: SupportsLearning, weights: Weights) -> float:
        """How well these weights do on what is kept, each domain alike."""
        set_weights(learner.model, weights)
        model = Teacher(snapshot(learner.model, statistics=True), "momentum")  # evaluation mode, no gradients
        losses: list[Tensor] = []
        for rows in self.memory.groups.values():
            parts = [rows[i : i + self.batch_size] for i in range(0, len(rows), self.batch_size)]
            own = []
            for part in parts:
                batch = join_examples(part)
                own.append(len(part) * learner.task_loss(batch, model.outputs(learner, batch)))
            if own:
                losses.append(torch.stack(own).sum() / len(rows))
        return -float(torch.stack(losses).mean()) if losses else 0.0

    def memory_bytes(self) -> int:
        return self.memory.bytes()
