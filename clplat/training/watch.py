"""Sees each step of an optimizer, whoever makes it: a plain loop, a gradient scaler, another library."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch.optim import Optimizer

__all__ = ["Watch", "innermost"]


def innermost(optimizer: Any) -> Optimizer:
    """The optimizer that makes the steps, inside those that other libraries wrap around it."""
    while not isinstance(optimizer, Optimizer) or not hasattr(optimizer, "_optimizer_step_pre_hooks"):
        inner = next(
            (getattr(optimizer, n) for n in ("optimizer", "_optimizer") if hasattr(optimizer, n)), None
        )
        if inner is None:
            raise TypeError(f"a learner's optimizer is one of torch's, not {type(optimizer).__name__}")
        optimizer = inner
    return optimizer


class Watch:
    """Calls ``before`` when gradients are complete and not yet used, and ``after`` when weights have moved.

    A step that a gradient scaler skips is none. ``before`` is told whether the gradients are there: a step
    with a closure computes them inside.
    """

    def __init__(self, before: Callable[[bool], None], after: Callable[[], None]) -> None:
        self._before, self._after = before, after
        self._optimizer: Optimizer | None = None
        self._handles: list[Any] = []

    def on(self, optimizer: Any) -> None:
        """Watch this optimizer and no other."""
        inner = innermost(optimizer)
        if inner is not self._optimizer:
            self.off()
            self._optimizer = inner
            self._handles = [
                inner.register_step_pre_hook(self._steps),
                inner.register_step_post_hook(self._stepped),
            ]

    def off(self) -> None:
        """Watch nothing."""
        for handle in self._handles:
            handle.remove()
        self._optimizer, self._handles = None, []

    def _steps(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        if _skips(optimizer):
            return
        if getattr(optimizer, "grad_scale", None) is not None:
            raise RuntimeError(
                "the gradients are still scaled, since this optimizer unscales them itself: "
                "call scaler.unscale_(optimizer) before scaler.step(optimizer)"
            )
        self._before(not _has_closure(args, kwargs))

    def _stepped(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        if not _skips(optimizer):
            self._after()


def _has_closure(args: Any, kwargs: Any) -> bool:
    return any(callable(given) for given in (*args[1:], *kwargs.values()))


def _skips(optimizer: Any) -> bool:
    """Whether a fused optimizer is called by a gradient scaler that found gradients that are not finite."""
    found = getattr(optimizer, "found_inf", None)
    return found is not None and bool(found)
