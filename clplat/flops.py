"""Floating-point operations of whatever torch computes inside a block, and passes of towers in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

__all__ = ["FlopCount", "note_pass"]

#: Counts that are open, the innermost last.
_OPEN: list[FlopCount] = []


class FlopCount(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts what torch's `FlopCounterMode` counts, without its list of modules: a quarter of the time.

    Attributes:
        total: operations.
        passes: rows that went through a tower: ``image_forward`` with gradients, ``image_backward``,
            ``image_no_grad`` of teachers, memories and frozen towers; the same of ``text``. Of two counts,
            one inside the other, the inner one has them.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0
        self.passes: Counter[str] = Counter()

    def __enter__(self) -> FlopCount:
        _OPEN.append(self)
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *raised: object) -> None:
        super().__exit__(*raised)  # type: ignore[no-untyped-call]
        _OPEN.remove(self)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        count = flop_registry.get(func._overloadpacket)
        if count is not None:
            self.total += _counted(count, args, kwargs or {}, out)
        return out


def note_pass(tower: str, outputs: Iterable[Tensor | None]) -> None:
    """A tower gave these for B inputs, (B, ...) each; nothing happens where nobody counts."""
    if not _OPEN:
        return
    count, given = _OPEN[-1].passes, [output for output in outputs if output is not None]
    rows = len(given[0])
    learns = [output for output in given if output.requires_grad]
    count[f"{tower}_forward" if learns else f"{tower}_no_grad"] += rows
    met: set[int] = set()

    def back(_: Tensor) -> None:
        task = torch._C._current_graph_task_id()  # the gradient of one pass may arrive by several outputs
        count[f"{tower}_backward"] += 0 if task in met else rows
        met.add(task)

    for output in learns:
        output.register_hook(back)  # type: ignore[no-untyped-call]


def _counted(count: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> int:
    """A formula's count. Most are of shapes, which torch finds by a walk that takes longer than the step."""
    formula = getattr(count, "__wrapped__", None)
    if formula is None or kwargs:
        total: int = count(*args, **kwargs, out_val=out)
        return total
    shapes = [_shape(value) for value in args]
    total = formula(*shapes, out_shape=tuple(map(_shape, out)) if isinstance(out, tuple) else _shape(out))
    return total


def _shape(value: Any) -> Any:
    return value.shape if isinstance(value, Tensor) else value
