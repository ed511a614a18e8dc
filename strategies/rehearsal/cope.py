"""CoPE: prototypes that evolve with what is rehearsed, and a loss that draws examples to their own."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from clplat.config.space import Float, Int
from clplat.data.batch import Batch
from clplat.data.stored_rows import is_row
from clplat.mechanisms.examples import labels_of
from clplat.mechanisms.memory import Memory
from clplat.mechanisms.memory.composition import enough
from clplat.mechanisms.memory.descriptions import reading
from clplat.mechanisms.memory.nearest_mean import put_means
from clplat.mechanisms.prototypes import follow, ppp_loss
from clplat.models.outputs import as_outputs
from clplat.training.strategy import Strategy, SupportsLearning

__all__ = ["CoPE"]


class CoPE(Strategy):
    """Continual prototype evolution: a moving mean of every class, kept up to date by balanced rehearsal.

    The loss is `clplat.mechanisms.prototypes.ppp_loss` of the new batch and of as many stored examples. Of a
    classifier it takes the place of the task's loss, on the unit rows that the last linear layer reads; after
    each experience that layer holds the prototypes, so that the largest logit is that of the nearest one.
    Of embeddings a class is an answer (``batch.labels``): a query, its target and the answer's prototype, the
    moving mean of both, belong together; ``weight`` times the loss is added to the task's. Prototypes are
    kept of answers that are in the memory.

    Args:
        size: exemplars in the memory, in equal shares of classes, or of domains where there are none.
        batch_size: exemplars per step.
        weight: of the loss beside a contrastive one.
        momentum: of the prototypes. The paper's 0.99 needs thousands of steps.
        temperature: of the loss.
        seed: of the memory; by default the experiment's.

    References:
        De Lange & Tuytelaars 2021, Continual Prototype Evolution: Learning Online from Non-Stationary Data
        Streams, arXiv 2009.00919.

    Needs:
        A learner with ``predict`` and ``task_loss``; batches with labels, or ``(x, y, ...)`` with classes y.

    Relations:
        `ICaRL` computes the means of classes anew when an experience is over.

    Example:
        >>> from strategies import CoPE
        >>> CoPE(size=100).memory_bytes()
        0
    """

    terms = ("prototypes",)
    stores = "exemplars"
    reads_data = True
    state = ("_prototypes",)

    def __init__(
        self,
        size: Annotated[int, Int(50, 1000, log=True)] = 200,
        batch_size: int = 64,
        weight: Annotated[float, Float(0.1, 30.0, log=True)] = 3.0,
        momentum: Annotated[float, Float(0.5, 0.999)] = 0.9,
        temperature: Annotated[float, Float(0.05, 1.0, log=True)] = 0.2,
        seed: int | None = None,
    ) -> None:
        if not (weight >= 0 and 0 <= momentum <= 1 and temperature > 0):
            raise ValueError(
                "weight must be at least 0, momentum in [0, 1] and temperature above 0, "
                f"not {weight}, {momentum} and {temperature}"
            )
        self.size, self.batch_size, self.weight, self.seed = size, enough(batch_size), weight, seed
        self.momentum, self.temperature = momentum, temperature
        self.memory = Memory(size, "balanced", seed or 0, per="class")
        self._prototypes: dict[str, Tensor] = {}
        self._rows: list[tuple[list[str], Tensor]] = []

    def loss(self, learner: SupportsLearning, batch: Any, outputs: Any) -> dict[str, Tensor]:
        stored = self.memory.sample(self.batch_size, mixed=True)
        logits = isinstance(as_outputs(outputs), Tensor)
        parts = [_read(learner, batch, None if logits else outputs)]
        if stored is not None:
            parts.append(_read(learner, stored, None))
        names, rows = [name for own, _ in parts for name in own], torch.cat([made for _, made in parts])
        self._rows.append((names, rows.detach().cpu()))
        # A class that was never met begins at its mean in this batch.
        held = follow({}, *self._rows[-1], 0.0) | self._prototypes
        place = {name: i for i, name in enumerate(held)}
        own = torch.tensor([place[name] for name in names], device=rows.device)
        found = ppp_loss(rows, own, torch.stack([*held.values()]).to(rows), self.temperature)
        return {"prototypes": found - learner.task_loss(batch, outputs) if logits else self.weight * found}

    def after_step(self, learner: SupportsLearning, batch: Any, outputs: Any) -> None:
        # Prototypes move once per step: by all its micro-batches, in all processes.
        read = [one for own in learner.gathered(self._rows) for one in own]
        if read:
            names, rows = [name for own, _ in read for name in own], torch.cat([made for _, made in read])
            self._prototypes = follow(self._prototypes, names, rows, self.momentum)
        self._rows = []

    def after_experience(self, learner: SupportsLearning, experience: Any) -> None:
        self.memory.add(learner, learner.data())
        stored = [row for rows in self.memory.groups.values() for row in rows]
        if is_row(stored[0]):
            answers = {row["candidate"]["labels"][0] for row in stored}
            self._prototypes = {name: p for name, p in self._prototypes.items() if name in answers}
        else:
            put_means(learner.model, {int(name): mean for name, mean in self._prototypes.items()})

    def memory_bytes(self) -> int:
        return self.memory.bytes()


def _read(learner: SupportsLearning, batch: Any, outputs: Any) -> tuple[list[str], Tensor]:
    """Classes and unit rows of a batch: of queries and targets, or what the last layer reads."""
    with reading(learner.model) as seen:
        made = as_outputs(learner.predict(batch) if outputs is None else outputs)
    if isinstance(made, Tensor):
        classes = labels_of(batch)
        if classes is None:
            raise TypeError("CoPE on logits needs batches (x, y, ...) with integer classes y")
        return [str(number) for number in classes.tolist()], normalize(seen[-1] if seen else made, dim=1)
    if not isinstance(batch, Batch):
        raise TypeError("CoPE on embeddings needs batches that say what answers a query, clplat's Batch")
    count = len(batch)
    return [*batch.labels[:count]] * 2, torch.cat([made.query, made.candidates[:count]])
