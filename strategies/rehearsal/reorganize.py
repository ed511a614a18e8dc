"""Reorganize: store regions of pictures, and rehearse pictures that are put together from them."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from torch import Tensor

from clplat.config.space import Float, Int
from clplat.data.batch import Batch
from clplat.mechanisms.carried_gradient import Source, apart
from clplat.mechanisms.memory import Memory
from clplat.mechanisms.memory.composition import enough, stored_batch
from clplat.mechanisms.regions import broken_up, reorganised, same_text
from clplat.randomness import generator
from clplat.training.strategy import Strategy, SupportsLearning

__all__ = ["Reorganize"]


class Reorganize(Strategy):
    """Breakup-reorganize rehearsal: a memory of parts, joined to new examples in every step.

    Of each stored triplet ``kept`` of ``grid x grid`` regions stay, the same of reference and target: a
    memory of as many bytes holds ``grid^2 / kept`` times as many triplets. A rehearsed batch takes each place
    of a picture from one of the drawn triplets that hold it and have the same text, in reference and target
    alike, so that the text stays true. ``loss = task(batch) + weight * task(reorganised memory batch)``.

    Updates may be asynchronous: weights low in the towers, or high, learn from the current batch alone, or
    from the rehearsed one alone, once there is one.

    Args:
        size: exemplars in the memory, over all domains.
        batch_size: exemplars per step.
        weight: of the rehearsed examples' loss.
        grid: regions in a row of a picture.
        kept: regions of each exemplar that are stored.
        lower: what the lower part of each tower learns from: ``both``, ``current`` (whole pictures, without
            seams) or ``replay``.
        upper: likewise, of the upper part and all that is outside the towers.
        split: share of a tower's depth that is its lower part.
        seed: of all draws; by default the experiment's.

    References:
        Huang et al. 2023 (ConSlide), arXiv 2308.13324.

    Needs:
        Batches of clplat in which queries and candidates are pictures, of a size that ``grid`` divides.

    Relations:
        `Replay` stores whole pictures.

    Example:
        >>> from strategies import Reorganize
        >>> Reorganize(size=100).memory_bytes()
        0
    """

    terms = ("replay",)
    needs_embeddings = True
    stores = "exemplars"
    reads_data = True

    def __init__(
        self,
        size: Annotated[int, Int(50, 2000, log=True)] = 400,
        batch_size: int = 64,
        weight: Annotated[float, Float(0.25, 4.0, log=True)] = 1.0,
        grid: int = 2,
        kept: int = 2,
        lower: Source = "both",
        upper: Source = "both",
        split: Annotated[float, Float(0.1, 0.9)] = 0.5,
        seed: int | None = None,
    ) -> None:
        if not (weight >= 0 and grid >= 1 and 1 <= kept <= grid * grid and 0 <= split <= 1):
            raise ValueError(
                "weight must be at least 0, grid at least 1, kept in 1..grid^2 and split in [0, 1], "
                f"not {weight}, {grid}, {kept} and {split}"
            )
        self.size, self.batch_size, self.weight = size, enough(batch_size), weight
        self.grid, self.kept, self.seed = grid, kept, seed
        self.lower, self.upper, self.split = lower, upper, split
        self.memory = Memory(size, "balanced", seed or 0)

    def loss(self, learner: SupportsLearning, batch: Any, outputs: Any) -> dict[str, Tensor]:
        if not isinstance(batch, Batch):
            raise TypeError("Reorganize needs clplat's batches: it stores regions of their pictures")
        draw = generator(self.seed or 0, "reorganise", learner.progress.step)

        def join(rows: list[Any]) -> Batch:
            made = [
                reorganised([rows[i], *(rows[j] for j in alike if j != i)], self.grid, draw)
                for i, alike in enumerate(same_text(rows))
            ]
            return Batch.from_rows(made)

        stored = stored_batch(self.memory, self.batch_size, outputs, join=join)
        if stored is None:
            return {}
        term = self.weight * learner.task_loss(stored, learner.predict(stored))
        if {self.lower, self.upper} != {"both"} and torch.is_grad_enabled():
            current = learner.task_loss(batch, outputs)
            term = apart(learner.model, current, term, self.lower, self.upper, self.split)
        return {"replay": term}

    def after_experience(self, learner: SupportsLearning, experience: Any) -> None:
        self.memory.add(learner, learner.data())
        draw = generator(self.seed or 0, "break up", learner.progress.experience)
        for rows in self.memory.groups.values():
            rows[:] = [
                row if "cells" in row["item"]["pictures"] else broken_up(row, self.grid, self.kept, draw)
                for row in rows
            ]

    def memory_bytes(self) -> int:
        return self.memory.bytes()
