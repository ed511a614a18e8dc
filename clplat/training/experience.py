"""An experience in a loop that is not ours: the hooks of a strategy run where the loop's optimizer steps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from clplat.errors import UserError
from clplat.mechanisms.examples import floats_on
from clplat.training.course import Course
from clplat.training.hooks import Hooks
from clplat.training.learner import Learner
from clplat.training.micro_batches import MicroBatches, gradients, unscaled
from clplat.training.order import chooses_data
from clplat.training.phases import trained_names
from clplat.training.watch import Watch, innermost

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Experience", "Running"]


@dataclass
class Experience:
    """What hooks are told of an experience: its data, its number, and the stream so far, as Avalanche's."""

    dataset: Any
    current_experience: int
    origin_stream: list[Experience] = field(default_factory=list, repr=False)


class Running:
    """What `Strategy.experience` gives inside ``with``.

    Attributes:
        dataset: what this experience trains on: the one given, or what the strategy makes of it.
        terms: the strategy's terms of the last batch, by name.
    """

    def __init__(self, strategy: Hooks, learner: Learner, dataset: Any, number: int | None) -> None:
        self.strategy, self.learner = strategy, learner
        self.terms: dict[str, Tensor] = {}
        stream: list[Experience] = vars(strategy).setdefault("_stream", [])
        self._experience = Experience(dataset, len(stream) if number is None else number, stream)
        self._seen = MicroBatches(strategy, learner)
        self._read = self._told = False
        self._steps = self._losses = 0
        self._grown: list[nn.Parameter] = []
        self._watch = Watch(self._before_step, self._after_step)

    def __enter__(self) -> Running:
        strategy, learner, own = self.strategy, self.learner, self._experience
        if getattr(strategy, "reads_data", False) and not hasattr(own.dataset, "__getitem__"):
            raise TypeError(
                f"{self._name} looks at what was trained on: strategy.experience(learner, dataset) takes it, "
                f"a sequence of examples, not {type(own.dataset).__name__}"
            )
        if chooses_data(strategy) and own.current_experience > len(own.origin_stream):
            raise UserError(
                f"{self._name} asks for the data of the experiences before {own.current_experience} too: "
                "`with strategy.experience(learner, dataset): pass` for each of them comes first"
            )
        own.origin_stream.append(own)
        learner.begin(own.current_experience)
        before = set(_trained(learner))
        strategy.before_experience(learner, own)
        self._course = Course(strategy.phases(own), learner)
        if strategy.groups(trained_names(learner.model)):
            raise TypeError(f"{self._name} gives tensors a rate of their own: clplat's trainer does that")
        self.dataset = learner.dataset = strategy.training_set(own)
        self._grown = [p for p in _trained(learner) if p not in before]
        for parameter in learner.model.parameters():
            if not parameter.requires_grad:
                parameter.grad = None  # else a loop clips the last one with those of the others
        if learner.optimizer is not None:
            self.follow(learner.optimizer)
        return self

    def follow(self, optimizer: Any) -> None:
        """Watch the steps of this optimizer: for a loop that builds one after the experience has begun.

        It is given what the strategy has made or unfrozen, and nothing that it was not to hold.
        """
        self.learner.optimizer, inner = optimizer, innermost(optimizer)
        self.learner.order.watch()  # it counts a step before the strategy is told of it
        held = {p for group in inner.param_groups for p in group["params"]}
        if late := [p for p in self._grown if p not in held]:
            inner.add_param_group({"params": late})
        self._course.enter()
        self._watch.on(inner)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._watch.off()
        self._course.leave()
        if kind is not None:
            return
        if self._losses and not self._steps and any(p.requires_grad for p in self.learner.model.parameters()):
            raise RuntimeError(
                f"{self._name} saw no step: the loop steps another optimizer than learner.optimizer"
            )
        self.strategy.after_experience(self.learner, self._experience)
        if not chooses_data(self.strategy):
            self._experience.dataset = None  # nothing asks for it again

    def turn(self, dataset: Any) -> None:
        """Between two steps, this experience ends and the next one begins."""
        self.strategy.after_experience(self.learner, self._experience)
        stream = self._experience.origin_stream
        self._experience.dataset = None
        self._experience = Experience(dataset, len(stream), stream)
        stream.append(self._experience)
        self.dataset = self.learner.dataset = dataset
        self.learner.begin(self._experience.current_experience)
        self.strategy.before_experience(self.learner, self._experience)
        self._read = False

    @property
    def number(self) -> int:
        """Of the experience in its stream, from 0."""
        return self._experience.current_experience

    def state_dict(self) -> dict[str, Any]:
        """What the strategy remembers and where training stands: for the checkpoint of a loop."""
        place = self.learner.progress
        kept = self.strategy.state_dict() if hasattr(self.strategy, "state_dict") else {}
        return {"number": self.number, "epoch": place.epoch, "step": place.step, "done": place.done} | {
            "strategy": kept
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned, with the model and optimizer of the same moment.

        Raises:
            UserError: it is of another experience, or the strategy grows the model, which it has done anew.
        """
        if (there := state["number"]) != self.number:
            raise UserError(
                f"the checkpoint is of experience {there}, this is experience {self.number}: "
                f"strategy.experience(learner, dataset, number={there}) goes on with it"
            )
        if getattr(self.strategy, "grows", False):
            raise UserError(
                f"{self._name} grows the model, which cannot go on in the middle of an experience: resume "
                "between two, with strategy.load_state_dict(state) and strategy.rebuild(learner)"
            )
        device = next((p.device for p in self.learner.model.parameters()), torch.device("cpu"))
        if hasattr(self.strategy, "load_state_dict"):
            self.strategy.load_state_dict(floats_on(device, state["strategy"]))
        where = {name: state[name] for name in ("epoch", "step", "done")}
        self.learner.progress = replace(self.learner.progress, **where)
        self._read = True  # the pass that it goes on in has begun

    @property
    def _name(self) -> str:
        return type(self.strategy).__name__

    def epochs(self, count: int) -> Iterator[int]:
        """The numbers of so many passes over the data, for strategies that look at where training stands.

        Those with phases go through them here, one after the other: what is trained, its learning rate, and
        how many passes, ``count`` where a phase does not say.
        """
        for number in self._course.epochs(count):
            self.epoch(number)
            yield number

    def epoch(self, number: int) -> None:
        """A pass over the data begins, counted from 0: for a loop that says so."""
        self.learner.at_epoch(number)
        self.strategy.before_epoch(self.learner)
        self._read = True

    def loss(self, batch: Any, outputs: Any, whole: bool = False) -> Tensor:
        """The strategy's terms for a batch, summed: a scalar to add to the task's loss, zero without terms.

        With gradient accumulation: for every micro-batch, weighted as the task's loss is.

        Args:
            batch: as ``learner.predict`` takes it.
            outputs: what the model made of it, with its graph.
            whole: it is not one of the micro-batches of a step but all of them, and replaces those before.
        """
        if self._course.waits:
            raise TypeError(
                f"{self._name} trains in phases, which needs `for epoch in experience.epochs(n)` around it"
            )
        if not self._read:
            self.epoch(0)
        self._watch.on(self.learner.optimizer)
        self.terms = self.strategy.loss(self.learner, batch, outputs)
        self._losses += 1
        device = next((p.device for p in self.learner.model.parameters()), None)
        # It can be differentiated even where nothing is trained, as with Frozen.
        total = torch.zeros((), device=device, requires_grad=True)
        for term in self.terms.values():
            total = total + term
        self._seen.add(batch, outputs, total, whole)
        return total

    def after_backward(self, scale: float | None = None) -> None:
        """Gradients are complete: only for a loop that clips them, right before it does.

        Otherwise they are looked at when the optimizer steps.

        Args:
            scale: by which a gradient scaler has multiplied them; None where there is no scaler. With one,
                gradients that are not finite are passed over: it skips their step.
        """
        if not self._seen:
            raise RuntimeError(
                f"this step is without the terms of {self._name}: "
                "add experience.loss(batch, outputs) to the loss"
            )
        if self._told:
            raise RuntimeError(
                "after_backward was called twice before one step of the optimizer: call it once, "
                "after the backward pass of the last micro-batch"
            )
        if scale is None or all(bool(g.isfinite().all()) for g in gradients(self.learner.model)):
            with torch.enable_grad(), unscaled(self.learner.model, scale or 1.0):
                self.strategy.after_backward(self.learner)
            self._told = True

    def _before_step(self, ready: bool) -> None:
        if ready and not self._told:
            self.after_backward()

    def _after_step(self) -> None:
        if not self._told:
            raise RuntimeError(
                "optimizer.step(closure) computes gradients inside: "
                "call experience.after_backward() at the end of the closure"
            )
        batch, outputs = self._seen.whole()
        self._told, self._steps = False, self._steps + 1
        self.learner.stepped()
        self.strategy.after_step(self.learner, batch, outputs)


def _trained(learner: Learner) -> list[nn.Parameter]:
    return [p for p in learner.model.parameters() if p.requires_grad]
