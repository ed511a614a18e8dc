"""The contract of hooks in a loop of one's own, checked while it runs: wrong use is an error, not a number.

In this order, and each where it stands::

    before_experience(learner, experience)
    training_set(experience)                  what is trained on
    for each step of the optimizer:
        loss(learner, batch, outputs)         of every micro-batch, weighted as the task's loss is
        after_backward(learner)               once, on the gradients of the whole step: after the last
                                              micro-batch, unscaled, reduced over processes, not yet clipped
        the step                              or its scaler skips it: what is not finite is no step
        after_step(learner, batch, outputs)   once, with all micro-batches of the step as one batch
    after_experience(learner, experience)

A `Learner` watches its optimizer, so that it knows what was a step. What `before_experience` did not begin is
not checked. ``with strategy.experience(learner, dataset)`` keeps the order by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from clplat.training.hooks import Hooks
from clplat.training.processes import spread, together
from clplat.training.watch import Watch

__all__ = ["CHECKED", "Order", "WrongCall", "checked", "chooses_data"]

#: Hooks whose calls are checked.
CHECKED = ("before_experience", "training_set", "loss", "after_backward", "after_step", "after_experience")
#: Steps of an experience whose gradients are looked at: a loop that is wrong is so from its first step.
_LOOKED_AT = 3
#: Strategies that were asked for their training set in the present experience.
_ASKED: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()
F = TypeVar("F", bound=Callable[..., Any])


class WrongCall(RuntimeError):
    """A hook was called where it gives wrong numbers; the message says the right call."""

    def __init__(self, said: str) -> None:
        super().__init__(f"{said} (`with strategy.experience(learner, dataset)` does that by itself)")


def checked(hook: F) -> F:
    """A hook that first asks the order of its learner whether it is its turn."""
    name = hook.__name__

    @wraps(hook)
    def call(strategy: Any, *args: Any, **more: Any) -> Any:
        learner, *others = [*args, *more.values()]
        order = getattr(learner, "order", None)
        if name == "training_set":
            _ASKED[strategy] = True
        if not isinstance(order, Order) or name in order.calling:
            return hook(strategy, *args, **more)
        if not order.expects(strategy, name, *others):
            return None
        order.calling.add(name)  # a method may call that of its parent
        try:
            result = hook(strategy, *args, **more)
        finally:
            order.calling.discard(name)
        order.done(strategy, name)
        return result

    return call  # type: ignore[return-value]


@dataclass
class _Calls:
    """What a strategy was told in the present experience; places are counts of steps."""

    begun: int
    open: bool = True
    losses: int = 0
    backward: int = -1
    finite: bool = True
    stepped: int = 0


class Order:
    """Which hooks were called of the strategies of a learner, between which steps of its optimizer.

    Args:
        learner: a `clplat.training.learner.Learner`.
    """

    def __init__(self, learner: Any) -> None:
        self.learner = learner
        self.steps = 0
        self.calling: set[str] = set()
        self._calls: WeakKeyDictionary[Any, _Calls] = WeakKeyDictionary()
        self._watch = Watch(self._before, self._after)
        self._probe: tuple[nn.Parameter, Tensor] | None = None

    def watch(self) -> None:
        """Follow the optimizer that the learner has now."""
        if self.learner.optimizer is not None:
            self._watch.on(self.learner.optimizer)

    def expects(self, strategy: Any, name: str, *args: Any) -> bool:
        """Whether a hook is to run; false for a step that a scaler skips.

        Raises:
            WrongCall: it is not its turn.
        """
        calls = self._calls.get(strategy)
        if name == "before_experience":
            if calls is not None and calls.open and self.steps > calls.begun:
                raise WrongCall(
                    "before_experience was called twice: after_experience(learner, experience) comes between"
                )
            self._calls[strategy] = _Calls(self.steps, stepped=self.steps)
            _ASKED.pop(strategy, None)
            self.learner.begins(*args)
            self.watch()
            return True
        if calls is None:
            return True
        if not calls.open:
            if name == "after_experience":
                raise WrongCall("after_experience was called twice: once, when the experience is over")
            return True
        self.watch()
        ask: Callable[[Any, _Calls], bool] = getattr(self, f"_{name}", lambda *_: True)
        return ask(strategy, calls)

    def done(self, strategy: Any, name: str) -> None:
        """A hook has run."""
        if name == "after_backward" and strategy in self._calls and self._early(self._calls[strategy]):
            heads = ((p, p.grad.flatten()[:64].clone()) for p in self._trained())
            self._probe = next(((p, head) for p, head in heads if bool(head.any())), None)

    def _loss(self, strategy: Any, calls: _Calls) -> bool:
        calls.losses += 1
        return True

    def _after_backward(self, strategy: Any, calls: _Calls) -> bool:
        if calls.backward == self.steps and calls.finite:
            raise WrongCall(
                "after_backward was called twice before one step of the optimizer: call it once, "
                "after the backward pass of the last micro-batch"
            )
        gradients = [p.grad for p in self._trained()]
        largest = nn.utils.get_total_norm(gradients, norm_type=torch.inf)
        calls.backward, calls.finite = self.steps, bool(largest.isfinite())
        several = together() and not self.learner.alone
        if several and gradients and self._early(calls) and spread(largest) > 1e-3:
            raise WrongCall(
                "gradients differ between the processes: reduce them before after_backward, as "
                "DistributedDataParallel does outside no_sync(), or say Learner(..., alone=True)"
            )
        return calls.finite

    def _after_step(self, strategy: Any, calls: _Calls) -> bool:
        if calls.backward < 0 and self.steps == calls.begun:
            return True  # no loop at all: somebody moves the weights by hand
        made = self.steps - calls.stepped
        if made == 0 and not calls.finite:
            return False  # a scaler has skipped it
        if made != 1:
            what = "without a step of learner.optimizer" if made == 0 else f"once in {made} steps"
            raise WrongCall(f"after_step was called {what}: call it once, after each optimizer.step()")
        if calls.backward != self.steps - 1:
            raise WrongCall(
                "the optimizer stepped without after_backward: call strategy.after_backward(learner) "
                "between the backward pass and optimizer.step()"
            )
        if not calls.finite:
            raise WrongCall("the optimizer stepped with gradients that are not finite")
        calls.stepped = self.steps
        return True

    def _after_experience(self, strategy: Any, calls: _Calls) -> bool:
        if calls.stepped != self.steps:
            missed = self.steps - calls.stepped
            raise WrongCall(
                f"after_step was not called for {missed} steps of this experience: "
                "call strategy.after_step(learner, batch, outputs) after each optimizer.step()"
            )
        trained = self.steps > calls.begun
        if trained and strategy.terms and not calls.losses:
            raise WrongCall(
                "loss was never called in this experience: add the sum of "
                "strategy.loss(learner, batch, outputs).values() to the task's loss"
            )
        if trained and chooses_data(strategy) and strategy not in _ASKED:
            raise WrongCall(
                f"{type(strategy).__name__} chooses what is trained on: "
                "take strategy.training_set(experience) after before_experience"
            )
        calls.open = False
        self.learner.ends()
        return True

    def _early(self, calls: _Calls) -> bool:
        return self.steps - calls.begun < _LOOKED_AT

    def _trained(self) -> list[Any]:
        return [p for p in self.learner.model.parameters() if p.requires_grad and p.grad is not None]

    def _before(self, ready: bool) -> None:
        probe, self._probe = self._probe, None
        if probe is None or probe[0].grad is None:
            return
        ratio = (probe[1] / probe[0].grad.flatten()[:64])[probe[1] != 0].float()
        scale = float(ratio[0])
        # Clipping divides as well, but not by a power of two as scalers have, and all numbers by the same.
        if bool((ratio == scale).all()) and scale >= 16 and float(torch.tensor(scale).log2()) % 1 == 0:
            raise WrongCall(
                f"after_backward saw gradients that were scaled by {scale:g}: "
                "call scaler.unscale_(optimizer) before strategy.after_backward(learner)"
            )

    def _after(self) -> None:
        self.steps += 1
        self.learner.progress = self.learner.progress.stepped()


def chooses_data(strategy: Any) -> bool:
    """Whether a strategy, or one of several, has a training set of its own."""
    parts = getattr(strategy, "parts", [strategy])
    return any(type(part).training_set is not Hooks.training_set for part in parts)
