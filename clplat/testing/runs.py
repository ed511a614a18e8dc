"""Short trainings in the tiny world: what contracts look at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from clplat.parts.losses.info_nce import InfoNCE
from clplat.retriever import ComposedRetriever
from clplat.testing.checks import marked_generator, trainable, weights
from clplat.testing.tiny import tiny_collate, tiny_domains
from clplat.training.strategy import Strategy

if TYPE_CHECKING:  # importing Avalanche takes seconds: only a training needs it
    from clplat.training.trainer import Trainer

__all__ = ["Run", "everything", "finish", "tiny_stream", "tiny_trainer"]


@dataclass
class Run:
    """A finished run, and what stood there before it: several tests share one and only look."""

    trainer: Trainer
    before: dict[str, Tensor]
    free: set[str]
    generator_untouched: bool

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
    **settings: Any,
) -> Trainer:
    """A trainer of two epochs in batches of eight: six steps per experience. Settings: `TrainConfig`."""
    from clplat.training.trainer import TrainConfig, Trainer

    return Trainer(
        model=model,
        strategy=strategy,
        collate=tiny_collate(),
        loss=InfoNCE(),
        config=TrainConfig(**{"epochs": 2, "batch_size": 8, "lr": 3e-3, **settings}),
        seed=0,
        on_step=on_step,
    )


def finish(trainer: Trainer) -> Run:
    """Train on the whole stream."""
    before, free = weights(trainer.model), set(trainable(trainer.model))
    with marked_generator() as state:
        trainer.train(tiny_stream(), eval_streams=[])
        return Run(trainer, before, free, torch.equal(torch.get_rng_state(), state))


def everything(trainer: Trainer) -> dict[str, Any]:
    """All that two runs that ended alike have in common: weights, optimizer state by name, strategy state."""
    names = {parameter: name for name, parameter in trainer.model.named_parameters()}
    moments = {names[parameter]: dict(state) for parameter, state in trainer.optimizer.state.items()}
    strategy = trainer.strategy.state_dict()
    return {"weights": weights(trainer.model), "moments": dict(sorted(moments.items())), "strategy": strategy}
