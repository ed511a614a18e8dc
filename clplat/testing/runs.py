"""Short trainings in the tiny world: what contracts look at."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from clplat.parts.losses._base import Loss
from clplat.parts.losses.info_nce import InfoNCE
from clplat.parts.samplers._base import Sampler
from clplat.retriever import ComposedRetriever
from clplat.testing.checks import marked_generator, trainable, weights
from clplat.testing.references import TinyReference
from clplat.testing.tiny import tiny_collate, tiny_domains
from clplat.training.strategy import Strategy

if TYPE_CHECKING:  # importing Avalanche takes seconds: only a training needs it
    from clplat.training.trainer import Trainer

__all__ = ["SHORT_CUTS", "Run", "begun", "everything", "finish", "resumed", "tiny_stream", "tiny_trainer"]

#: Steps after which a run that `finish` makes leaves a checkpoint: in both experiences, of six steps each.
CUTS = (4, 10)
#: The same where an experience has four steps: in the second epoch of both.
SHORT_CUTS = (3, 7)


@dataclass
class Run:
    """A finished run, and what stood there before it: several tests share one and only look.

    ``checkpoints`` holds a file for each of some steps, and ``border`` from between the experiences, where
    `everything` was ``between``.
    """

    trainer: Trainer
    before: dict[str, Tensor]
    free: set[str]
    generator_untouched: bool
    checkpoints: TemporaryDirectory[str]
    between: dict[str, Any]

    @property
    def strategy(self) -> Strategy:
        return self.trainer.strategy


def tiny_stream() -> Any:
    """The train stream of `tiny_domains`: two experiences of 24 triplets."""
    from clplat.training.streams import build_benchmark

    return build_benchmark(tiny_domains()).train_stream


def tiny_trainer(
    strategy: Strategy,
    model: ComposedRetriever,
    on_step: Callable[[Any], None] | None = None,
    loss: Loss | None = None,
    sampler: Sampler | None = None,
    **settings: Any,
) -> Trainer:
    """A trainer of two epochs in batches of eight: six steps per experience. Settings: `TrainConfig`."""
    from clplat.training.trainer import TrainConfig, Trainer

    return Trainer(
        model=model,
        strategy=strategy,
        collate=tiny_collate(),
        loss=loss or InfoNCE(),
        sampler=sampler,
        reference=TinyReference() if strategy.reads_reference else None,
        config=TrainConfig(**{"epochs": 2, "batch_size": 8, "lr": 3e-3, **settings}),
        seed=0,
        on_step=on_step,
    )


def finish(trainer: Trainer, cuts: Collection[int] = CUTS) -> Run:
    """Train on the whole stream; ``cuts`` are the steps after which it leaves a checkpoint."""
    from clplat.runs.checkpoint import Weights, save_state

    before, free, folder = weights(trainer.model), set(trainable(trainer.model)), TemporaryDirectory()
    kept, on_step, between = Weights(trainer.model), trainer.on_step, dict[str, Any]()

    def save(name: str) -> None:
        save_state(Path(folder.name, name), trainer, kept, {})

    def look(_: Trainer) -> None:
        kept.look()  # a growing strategy freezes it later
        if trainer.step in cuts:
            save(str(trainer.step))
        if on_step is not None:
            on_step(trainer)

    def at_the_border() -> None:
        save("border")
        now = everything(trainer)
        held = now.pop("weights").items()
        # What did not change is kept once: most of a model is its frozen words.
        same = {name for name, value in held if name in before and torch.equal(value, before[name])}
        between["weights"] = {name: before[name] if name in same else value for name, value in held}
        between.update(copy.deepcopy(now))

    trainer.on_step = look
    with marked_generator() as state:
        _walk(trainer, at_the_border)
        untouched = torch.equal(torch.get_rng_state(), state)
    return Run(trainer, before, free, untouched, folder, between)


def begun(fresh: Trainer) -> Trainer:
    """A trainer after the first experience."""
    _walk(fresh, until=1)
    return fresh


def resumed(run: Run, checkpoint: str, fresh: Trainer, until: int = 2) -> Trainer:
    """A trainer of the same parts that went on from a checkpoint, to the end of ``until`` experiences."""
    from clplat.runs.checkpoint import Weights, load_state

    load_state(Path(run.checkpoints.name, checkpoint), fresh, Weights(fresh.model))
    _walk(fresh, until=until)
    return fresh


def _walk(trainer: Trainer, at_the_border: Callable[[], None] = lambda: None, until: int = 2) -> None:
    """The experiences that are left, one after the other, as an experiment goes through them."""
    from clplat.training.trainer import Position

    stream = tiny_stream()
    for index in range(trainer.position.experience, until):
        trainer.train(stream[index], eval_streams=[])
        trainer.position = Position(index + 1)
        if index == 0:
            at_the_border()


def everything(trainer: Trainer) -> dict[str, Any]:
    """All that two runs that ended alike have in common: weights, optimizer state by name, strategy state."""
    from clplat.training.optimizer import named_tensors

    names = {parameter: name for name, parameter in named_tensors(trainer.model, trainer.task)}
    moments = {names[parameter]: dict(state) for parameter, state in trainer.optimizer.state.items()}
    strategy = trainer.strategy.state_dict()
    return {
        "weights": weights(trainer.model),
        "loss": weights(trainer.task),
        "moments": dict(sorted(moments.items())),
        "strategy": strategy,
    }
