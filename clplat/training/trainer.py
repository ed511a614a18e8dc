"""The trainer: an Avalanche template for composed retrieval, resumable to the bit inside an epoch."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from clplat.config.groups import TrainConfig
from clplat.data.batch import Batch
from clplat.data.records import Example
from clplat.mechanisms.parameter_groups import Group
from clplat.parts.losses._base import Loss
from clplat.parts.references._base import Reference
from clplat.parts.samplers._base import Sampler
from clplat.parts.samplers.by_domain import ByDomain
from clplat.progress import Progress
from clplat.randomness import seeded
from clplat.retriever import ComposedRetriever
from clplat.training.accumulation import refuse_batch_statistics
from clplat.training.avalanche import EvaluationPlugin
from clplat.training.loss_log import LossLog, NonFiniteLoss, Position
from clplat.training.optimizer import clip_gradient, named_tensors, new_optimizer
from clplat.training.plugin import StrategyPlugin
from clplat.training.step import (
    autocast_dtype,
    compile_blocks,
    frozen_parts,
    idle_tensors,
    reads_no_query,
    refuse_dead_tensors,
)
from clplat.training.strategy import Strategy
from clplat.training.template import RetrievalTemplate

__all__ = ["NonFiniteLoss", "Position", "TrainConfig", "Trainer"]


class Trainer(RetrievalTemplate):
    """Trains a `ComposedRetriever` on a stream with one strategy; any Avalanche plugin may join.

    Args:
        model: the retriever.
        strategy: runs as a plugin, as in any other Avalanche template.
        collate: list of `Example` -> `Batch`; one with ``at(moment)`` gets the epoch, see `Collate`.
        loss: what the model is trained on.
        config: see `TrainConfig`.
        seed: of orders and dropout.
        sampler: which examples make a batch.
        reference: data beside the stream, for strategies that learn from it.
        plugins: further Avalanche plugins.
        groups: names of what is trained -> tensors with a rate or weight decay of their own, as adapters have
            them; those of the strategy come first.
        on_step: called after every optimizer step with the trainer; checkpoints and progress hang here.
        check_every: steps between two checks that loss and gradient were finite. By default 1 on the CPU,
            where a check is free and the weights from before a bad step stay intact, and 32 elsewhere, where
            each check stops the device. Reading `losses` also checks, as every checkpoint does before it is
            written, and so does the end of an experience.

    An experience, and where a strategy's hooks stand in it (Avalanche's own lie around them)::

        before_experience(learner, experience)       freeze, grow, take a teacher; not when resumed inside
        the optimizer takes what is trainable now, in its groups(names); learning rates are set
        training_set(experience)                     the data of this experience
        phases(experience)                           by default one, of all that is trainable
        for each epoch of each phase:                a phase trains what it says, with its own schedule
            before_epoch(learner)                    not when resumed inside
            the sampler chooses the batches          by default of one domain each
            for each batch that was not used before an interruption:
                outputs = model(batch)               frozen features come from the cache
                task = loss(outputs, batch, learner.progress), and the model's own ``outputs.terms``
                loss(learner, batch, outputs)        named terms, added to the task's
                backward                             in micro-batches where they are asked for
                after_backward(learner)              gradients are there, neither clipped nor used
                clip, optimizer step, schedule step
                after_step(learner, batch, outputs)  ``learner.progress`` counts this step
                on_step(trainer)                     checkpoints and progress
        after_experience(learner, experience)        consolidate, merge, store exemplars

    Example:
        ``Trainer(...).train(benchmark.train_stream)`` trains experience by experience.
    """

    def __init__(
        self,
        *,
        model: ComposedRetriever,
        strategy: Strategy,
        collate: Callable[[Sequence[Example]], Batch],
        loss: Loss,
        config: TrainConfig,
        seed: int,
        device: str = "cpu",
        sampler: Sampler | None = None,
        reference: Reference | None = None,
        plugins: Sequence[Any] = (),
        groups: Callable[[Sequence[str]], Sequence[Group]] = lambda names: (),
        on_step: Callable[[Trainer], None] | None = None,
        check_every: int | None = None,
    ) -> None:
        model.precision = autocast_dtype(config.precision, torch.device(device))
        self.strategy, self.strategy_plugin = strategy, StrategyPlugin(strategy)
        with warnings.catch_warnings():
            # Avalanche's own evaluation and loggers are not used: `Evaluator` and the tracker do that.
            warnings.filterwarnings("ignore", "No loggers specified")
            super().__init__(
                model=model,
                optimizer=new_optimizer(config),
                criterion=loss,
                train_mb_size=config.batch_size,
                train_epochs=config.epochs,
                device=device,
                plugins=[self.strategy_plugin, *plugins],
                evaluator=EvaluationPlugin,
                eval_every=-1,
            )
        self.collate, self.config, self.seed, self.on_step = collate, config, seed, on_step
        self.task, self._groups = loss, groups
        self.sampler, self.reference = sampler or ByDomain(), reference
        self.drawn: list[list[int]] | None = None
        self._drawn_at: tuple[int, int] | None = None
        with seeded(seed, "loss"):
            loss.attach(model.towers)
        model.asked = loss.wanted
        model.composer.unread = config.micro_batch is None and reads_no_query(loss, strategy)
        self.plugins.remove(self.evaluator)  # it has no metrics, but a hook for every moment of a step
        self.learner = self.strategy_plugin.learner(self)
        self.position = Position()
        self.loss_log = LossLog(check_every or (1 if self.device.type == "cpu" else 32))
        self.flops_per_step: dict[int, int] = {}
        self.flops = 0
        self.resuming = False
        self._source: Any = None
        self._records: Sequence[Example] = []

    def groups(self, names: Sequence[str]) -> Sequence[Group]:
        return [*self.strategy.groups(names), *self._groups(names)]

    @property
    def step(self) -> int:
        """Finished optimizer steps of the stream."""
        return self.learner.progress.step

    def _before_training_exp(self, **kwargs: Any) -> None:
        if not self.resuming:
            self.position = Position(self.experience.current_experience)
        # Growth draws initial weights from torch's generator.
        with seeded(self.seed, "grow", self.position.experience):
            super()._before_training_exp(**kwargs)
        place = self.position
        self.clock.train_exp_epochs = place.epoch
        self.learner.progress = replace(
            self.learner.progress, done=place.epoch * self.steps_per_epoch + place.iteration
        )
        if self.config.compile:
            compile_blocks(self.model)

    # -- loop ---------------------------------------------------------------------------------------------

    def resume_at(self, position: Position, step: int) -> None:
        """Continue at this place; inside an experience, the next `train` skips its beginning."""
        self.position = position
        self.learner.progress = Progress(position.experience, epochs=self.config.epochs, step=step)
        self.resuming = (position.epoch, position.iteration) != (0, 0)

    def _train_exp(self, experience: Any, eval_streams: Any = None, **_: Any) -> None:
        frozen: list[nn.Module] = []
        for epoch in range(self.position.epoch, self.train_epochs):
            first = epoch == self.position.epoch
            if not first:
                self.position = Position(self.position.experience, epoch, 0)
            self._before_training_epoch()
            if self._stop_training:
                self._stop_training = False
                break
            phase_begins = not first and epoch == self.strategy_plugin.span(epoch).start
            if first or phase_begins:
                frozen = frozen_parts(self.model)
                if self.strategy_plugin.held is not None:
                    self.hold_trainable()
            if first or phase_begins or not self.model.training:  # a plugin may have evaluated
                self.model.train()
                self.task.train()
                for part in frozen:
                    part.eval()
            if first or phase_begins:
                self._prepare()
            if self.config.micro_batch is not None:
                refuse_batch_statistics(self.model)
            # Also for the first epoch: since Avalanche's own call, a plugin may have changed the data.
            self.make_train_dataloader()
            self.training_epoch()
            self._after_training_epoch()
        self.loss_log.read()  # before a strategy consolidates what was learnt
        self.resuming = False

    def training_epoch(self, **_: Any) -> None:
        for batch in self.dataloader:
            if self._stop_training:
                break
            self.mbatch = batch
            place = self.position
            self._unpack_minibatch()
            span = self._set_learning_rates()
            phase_begins = (place.epoch, place.iteration) == (span.start, 0)
            with seeded(self.seed, "step", place.experience, place.epoch, place.iteration):
                if place.experience in self.flops_per_step and not (span.start and phase_begins):
                    self._one_step()
                else:
                    self._count(self._one_step)
            self._spend()
            self.position = Position(place.experience, place.epoch, place.iteration + 1)
            if self.on_step is not None:
                self.on_step(self)

    def _one_step(self) -> None:
        self._before_training_iteration()
        self.optimizer.zero_grad()
        self._before_forward()
        self.mb_output = self.forward()
        self._after_forward()
        named = self.objectives()
        first, *others = named.values()
        task = self.loss = sum(others, start=first)
        self._before_backward()
        terms = {"task": task, **named, **self.strategy_plugin.terms, "loss": self.loss}
        self.loss_log.loss(self.position, self.step, self.mbatch.ids, terms)
        self.backward()
        self._after_backward()
        span = self.strategy_plugin.span(self.position.epoch)
        if (self.position.epoch, self.position.iteration) == (span.start, 0):
            tensors, idle = named_tensors(self.model, self.task), idle_tensors(self.model)
            refuse_dead_tensors(tensors, self.optimizer, idle)
        # Frozen parts may hold a gradient of an earlier experience, which a resumed run has not.
        trained = [p for p in self._trained if p.requires_grad and p.grad is not None]
        self.loss_log.gradient(clip_gradient(trained, self.config.clip))
        self._before_update()
        self.optimizer_step()
        self._after_update()
        self._after_training_iteration()
