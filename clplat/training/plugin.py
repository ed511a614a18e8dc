"""A strategy as an Avalanche plugin, and any Avalanche template as the learner that a strategy asks for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import default_collate

from clplat.progress import Progress
from clplat.training.avalanche import SupervisedPlugin
from clplat.training.hooks import Hooks
from clplat.training.learner import AnyLearner
from clplat.training.phases import Phase, Span, hold, spans, trained_names
from clplat.training.processes import bare

__all__ = ["AvalancheLearner", "StrategyPlugin"]


class AvalancheLearner(AnyLearner):
    """What a `Strategy` may ask for, answered by an Avalanche template (stock or ours)."""

    def __init__(self, template: Any) -> None:
        self.template = template
        self.progress = Progress()
        self.reference = getattr(template, "reference", None)
        self.pretrained = getattr(template, "pretrained", False)

    @property
    def model(self) -> nn.Module:  # type: ignore[override]
        return bare(self.template.model)

    @property
    def optimizer(self) -> Optimizer:
        optimizer: Optimizer = self.template.optimizer
        return optimizer

    def begin_epoch(self, phase: str) -> None:
        """A pass over the data begins, whose length the template knows now."""
        template, place = self.template, self.progress
        epoch = template.clock.train_exp_epochs
        steps = getattr(template, "steps_per_epoch", None) or len(template.dataloader)
        epochs = template.train_epochs
        self.progress = replace(place, epoch=epoch, epochs=epochs, phase=phase, total=steps * epochs)

    @contextmanager
    def _looking_at(self, batch: Any, outputs: Any) -> Iterator[None]:
        # A template computes on its attributes; what the loop holds there is put back afterwards.
        template = self.template
        before = template.mbatch, template.mb_output
        template.mbatch, template.mb_output = batch, outputs
        try:
            template._unpack_minibatch()
            yield
        finally:
            template.mbatch, template.mb_output = before

    def predict(self, batch: Any) -> Any:
        with self._looking_at(batch, None):
            return self.template.forward()

    def task_loss(self, batch: Any, outputs: Any) -> Tensor:
        with self._looking_at(batch, outputs):
            loss: Tensor = self.template.criterion()
            return loss

    def collate(self, examples: list[Any]) -> Any:
        return (self._collator() or default_collate)(examples)

    def _collator(self) -> Any:
        own = getattr(self.template, "collate", None)
        return own if own is not None else getattr(self.template.experience.dataset, "collate_fn", None)

    def data(self) -> Any:
        return self.template.adapted_dataset


class StrategyPlugin(SupervisedPlugin):  # type: ignore[misc]
    """Runs a `Strategy` inside an Avalanche template; ``terms`` holds the named loss terms of the last step.

    `Strategy.before_experience` is called before the data set is adapted: Avalanche builds the optimizer
    after that, so that weights which a strategy adds are trained (``before_training_exp`` is too late).
    """

    def __init__(self, strategy: Hooks) -> None:
        super().__init__()
        self.strategy = strategy
        self.terms: dict[str, Tensor] = {}
        self._learner: AvalancheLearner | None = None
        #: What is trainable in this experience, where its phases differ in that; kept in checkpoints.
        self.held: list[str] | None = None
        self.spans = spans([Phase()], 1)
        self._rates: list[float] = []
        self._epochs = 1

    def learner(self, template: Any) -> AvalancheLearner:
        """What the strategy asks in this template: one object, which counts its steps."""
        if self._learner is None or self._learner.template is not template:
            self._learner = AvalancheLearner(template)
        return self._learner

    def before_train_dataset_adaptation(self, strategy: Any, **_: Any) -> None:
        # A resumed experience has begun already: a teacher taken now would be half trained.
        if not getattr(strategy, "resuming", False):
            learner, experience = self.learner(strategy), strategy.experience
            learner.begin(experience.current_experience, epochs=strategy.train_epochs)
            strategy.adapted_dataset = experience.dataset  # until the template does, it holds the last one
            with _between_steps(strategy):
                self.strategy.before_experience(learner, experience)

    def after_train_dataset_adaptation(self, strategy: Any, **_: Any) -> None:
        chosen = self.strategy.training_set(strategy.experience)
        if chosen is not strategy.experience.dataset:
            strategy.adapted_dataset = chosen

    def before_training_exp(self, strategy: Any, **_: Any) -> None:
        phases = self.strategy.phases(strategy.experience)
        self._epochs = strategy.train_epochs
        self.spans = spans(phases, self._epochs)
        strategy.train_epochs = self.spans[-1].stop
        if not getattr(strategy, "resuming", False):
            differ = any(phase.trainable is not None for phase in phases)
            self.held = trained_names(strategy.model) if differ else None

    def span(self, epoch: int) -> Span:
        """The phase of an epoch of this experience."""
        return next((span for span in self.spans if epoch < span.stop), self.spans[-1])

    def _enter(self, strategy: Any, span: Span) -> None:
        """Train what a phase trains, as fast as it says; the same however often it is called."""
        if self.held is not None:
            hold(strategy.model, self.held, span.phase)
        groups = strategy.optimizer.param_groups
        self._rates = self._rates or [group["lr"] for group in groups]
        for group, rate in zip(groups, self._rates, strict=False):
            group["lr"] = rate if span.phase.lr is None else span.phase.lr

    def before_training_epoch(self, strategy: Any, **_: Any) -> None:
        span = self.span(strategy.clock.train_exp_epochs)
        if any(own.phase != Phase() for own in self.spans):
            self._enter(strategy, span)
        # A frozen model has nothing to learn, and a backward pass without gradients is an error in torch.
        if not any(parameter.requires_grad for parameter in strategy.model.parameters()):
            strategy.stop_training()
            return
        learner = self.learner(strategy)
        learner.begin_epoch(span.phase.name)
        if not getattr(strategy, "inside_epoch", False):
            with _between_steps(strategy):
                self.strategy.before_epoch(learner)

    def before_backward(self, strategy: Any, **_: Any) -> None:
        self.terms = self.strategy.loss(self.learner(strategy), strategy.mbatch, strategy.mb_output)
        for term in self.terms.values():
            strategy.loss = strategy.loss + term

    def after_backward(self, strategy: Any, **_: Any) -> None:
        self.strategy.after_backward(self.learner(strategy))

    def after_update(self, strategy: Any, **_: Any) -> None:
        learner = self.learner(strategy)
        learner.stepped()
        self.strategy.after_step(learner, strategy.mbatch, strategy.mb_output)

    def after_training_exp(self, strategy: Any, **_: Any) -> None:
        strategy.train_epochs = self._epochs
        if self.held is not None:
            hold(strategy.model, self.held)
        for group, rate in zip(strategy.optimizer.param_groups, self._rates, strict=False):
            group["lr"] = rate
        self._rates = []
        with _between_steps(strategy):
            self.strategy.after_experience(self.learner(strategy), strategy.experience)


def _between_steps(template: Any) -> AbstractContextManager[None]:
    """Our template counts what is computed outside its steps."""
    counted: AbstractContextManager[None] = getattr(template, "between_steps", nullcontext)()
    return counted
