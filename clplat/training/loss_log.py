"""What the steps leave behind: their places, their loss terms, and whether all of it was finite.

Reading one number of a GPU (``.item()``, ``float``, ``bool``) makes the Python program wait until all work
that was handed over is done, and the GPU then waits for Python. A `LossLog` therefore keeps the terms and the
gradient's norm of each step where they are and reads those of many steps in one transfer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from clplat.errors import UserError

__all__ = ["LossLog", "NonFiniteLoss", "Position"]


@dataclass(frozen=True)
class Position:
    """Where training stands: the next batch is ``iteration`` of ``epoch`` of ``experience``."""

    experience: int = 0
    epoch: int = 0
    iteration: int = 0


class NonFiniteLoss(UserError):
    """The loss or its gradient became NaN or infinite.

    A trainer that checks every step (``check_every=1``) still has the weights from before this one.
    """

    def __init__(self, position: Position, step: int, ids: list[str], terms: dict[str, float]) -> None:
        parts = ", ".join(f"{name} {value}" for name, value in terms.items())
        shown = ", ".join(ids[:4]) + (f", ... ({len(ids)} in all)" if len(ids) > 4 else "")
        what = "gradient" if all(math.isfinite(value) for value in terms.values()) else "loss"
        super().__init__(
            f"the {what} is not finite ({parts}) at step {step}, experience {position.experience}, epoch "
            f"{position.epoch}, iteration {position.iteration}; batch: {shown}"
        )
        self.step, self.ids, self.position = step, ids, position


@dataclass
class _Entry:
    position: Position
    step: int
    ids: list[str]
    terms: dict[str, Tensor]
    checked: list[Tensor]  # the whole loss and the gradient's norm, as far as they are known


class LossLog:
    """The loss terms of all steps so far; those of the last ones are still on the device.

    Args:
        every: steps between two readings.
    """

    def __init__(self, every: int) -> None:
        self.every = every
        self.losses: list[dict[str, float]] = []
        self._unread: list[_Entry] = []
        self._open: _Entry | None = None

    def loss(self, position: Position, step: int, ids: list[str], terms: Mapping[str, Tensor]) -> None:
        """Open the entry of a step.

        Args:
            position: of the step.
            step: its number.
            ids: of its batch.
            terms: of its loss by name; ``loss`` is the whole.

        Raises:
            NonFiniteLoss: where every step is read, before its gradient is computed.
        """
        kept = {name: term.detach() for name, term in terms.items()}
        self._open = _Entry(position, step, ids, kept, [kept["loss"]])
        if self.every == 1:
            self._numbers([self._open])

    def gradient(self, norm: Tensor) -> None:
        """Close the entry that `loss` opened, before the optimizer uses the gradient.

        Raises:
            NonFiniteLoss: a reading is due, and a step was not finite.
        """
        assert self._open is not None, "loss comes first"
        self._open.checked.append(norm)
        self._unread.append(self._open)
        self._open = None
        if len(self._unread) >= self.every:
            self.read()

    def read(self) -> None:
        """Read what is on the device; afterwards every step so far is known to have been finite.

        Raises:
            NonFiniteLoss: of the first step that was not; ``losses`` then ends before it.
        """
        entries, self._unread = self._unread, []
        self._numbers(entries, self.losses)

    def _numbers(self, entries: list[_Entry], into: list[dict[str, float]] | None = None) -> None:
        if not entries:
            return
        kept = [value for entry in entries for value in (*entry.terms.values(), *entry.checked)]
        numbers = iter(torch.stack([value.to(kept[0].device) for value in kept]).tolist())
        for entry in entries:
            terms = {name: next(numbers) for name in entry.terms}
            if not all([math.isfinite(next(numbers)) for _ in entry.checked]):
                raise NonFiniteLoss(entry.position, entry.step, entry.ids, terms)
            if into is not None:
                into.append(terms)
