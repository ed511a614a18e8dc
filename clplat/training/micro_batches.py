"""The micro-batches of a step of the optimizer, as the one batch that `after_step` is told of."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from clplat.data.batch import Batch
from clplat.errors import UserError
from clplat.mechanisms.examples import is_column
from clplat.models.outputs import Outputs
from clplat.training.hooks import Hooks
from clplat.training.learner import Learner

__all__ = ["MicroBatches", "gradients", "joined", "unscaled"]


def gradients(model: nn.Module) -> Iterator[Tensor]:
    """Those that are there."""
    yield from (p.grad for p in model.parameters() if p.grad is not None)


@contextmanager
def unscaled(model: nn.Module, scale: float) -> Iterator[None]:
    """Inside, gradients are without this factor: a power of two, so that there and back is exact."""
    for gradient in gradients(model) if scale != 1.0 else ():
        gradient.mul_(1.0 / scale)
    yield
    for gradient in gradients(model) if scale != 1.0 else ():
        gradient.mul_(scale)


class MicroBatches:
    """What `loss` was told of since the last step: batches and outputs.

    Args:
        strategy: where its ``after_step`` looks at nothing, the last micro-batch alone is kept.
        learner: whose gradients say where a step begins.
    """

    def __init__(self, strategy: Any, learner: Learner) -> None:
        parts = getattr(strategy, "parts", [strategy])
        hooks = [inspect.unwrap(type(part).after_step) for part in parts]
        self._keeps = any(hook is not Hooks.after_step for hook in hooks)
        self._learner = learner
        self._seen: list[tuple[Any, Any]] = []
        self._backward = False

    def __bool__(self) -> bool:
        return bool(self._seen)

    def add(self, batch: Any, outputs: Any, terms: Tensor, whole: bool = False) -> None:
        """One more, or all of a step at once; without a graph it is looked at, not trained on.

        Args:
            terms: of the strategy, through which a backward pass will go.
        """
        if torch.is_grad_enabled():
            if whole or not self._keeps or (self._backward and self._skipped()):
                self._seen, self._backward = [], False
            self._seen.append((batch, outputs))
            if self._keeps:
                terms.register_hook(self._passed)  # type: ignore[no-untyped-call]

    def _passed(self, gradient: Tensor) -> None:
        self._backward = True

    def _skipped(self) -> bool:
        """Whether those before were of a step that a scaler has skipped: nothing of it is left to add to."""
        found = [*gradients(self._learner.model)]
        return not found or not bool(nn.utils.get_total_norm(found, torch.inf).isfinite())

    def whole(self) -> tuple[Any, Any]:
        """Batch and outputs of all of them; the next step begins."""
        seen, self._seen, self._backward = self._seen, [], False
        batches, outputs = zip(*seen, strict=True)
        return joined(batches), joined(outputs)


@torch.no_grad()
def joined(parts: Sequence[Any]) -> Any:
    """The batch, or the outputs, of which these are consecutive parts; of several, without their graph.

    Knows tensors, lists, tuples and dicts of them, `Batch` and `Outputs`. What has no common shape, as texts
    that are padded to the longest of each part, is an error where somebody looks at it.

    Example:
        >>> joined([(torch.zeros(2, 3), torch.tensor([0, 1])), (torch.ones(1, 3), torch.tensor([2]))])[1]
        tensor([0, 1, 2])
    """
    first, *others = parts
    if not others:
        return first
    if isinstance(first, Tensor):
        return _cat(parts)
    if isinstance(first, Batch):
        return Batch.from_rows([row for part in parts for row in part.rows()])
    if isinstance(first, Outputs):
        return Outputs.joined([*parts])
    if isinstance(first, Mapping):
        return {key: joined([part[key] for part in parts]) for key in first}
    if isinstance(first, list | tuple):
        if any(map(is_column, first)):
            columns = [joined(column) for column in zip(*parts, strict=True)]
            return columns if isinstance(first, list) else tuple(columns)
        return [row for part in parts for row in part]
    return first if all(part is first or part == first for part in others) else _Apart(type(first).__name__)


def _cat(parts: Sequence[Tensor]) -> Any:
    if not parts[0].ndim:
        return parts[-1]  # a scale
    shapes = {tuple(part.shape[1:]) for part in parts}
    return torch.cat([*parts]) if len(shapes) == 1 else _Apart(" and ".join(map(str, sorted(shapes))))


class _Apart:
    """Stands for what could not be joined."""

    kinds: str

    def __init__(self, kinds: str) -> None:
        self.kinds = kinds

    def _refuse(self, *_: Any) -> NoReturn:
        raise UserError(
            f"the micro-batches of this step have rows of {self.kinds}, which are no batch: a strategy that "
            "looks at what it trains on wants one shape where gradients accumulate; pad texts to one length"
        )

    __getattr__ = __getitem__ = __len__ = __iter__ = _refuse
