"""What a frozen teacher makes of pictures and texts, by name: each once, also across runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

__all__ = ["NamedRows"]

#: Items per pass, always as many: matrix products of other shapes round otherwise, and a run that resumes
#: meets items in another order.
CHUNK = 32


class NamedRows:
    """Rows of one frozen teacher: held here, in the feature store of its student, or made.

    Args:
        content: everything that determines them beside the item, such as a fingerprint of the weights.

    Example:
        >>> rows, made = NamedRows({"weights": "4f2a"}), []
        >>> def make(places: list[int]) -> Tensor:
        ...     made.append(len(places))
        ...     return torch.ones(len(places), 2)
        >>> for _ in range(3):
        ...     found = rows(None, "text", ["red", "blue", "red"], make)
        >>> found.shape, made
        (torch.Size([3, 2]), [32])
    """

    def __init__(self, content: Mapping[str, Any]) -> None:
        self.content = {"what": "teacher", **content}
        self.held: dict[tuple[str, str], Tensor] = {}

    def __call__(
        self, model: Any, kind: str, names: Sequence[str], make: Callable[[list[int]], Tensor]
    ) -> Tensor:
        """The rows (N, D) of these items, which stay in memory from now on.

        Args:
            model: the student; its feature store is used where it has one.
            kind: what the names are names of; empty: they name nothing, and rows are made at every call.
            make: positions among the names -> their rows, without gradients.
        """
        if not kind:
            return self.stored(model, kind, names, make)
        place = {name: i for i, name in enumerate(names) if (kind, name) not in self.held}
        if place:
            missing = [*place.values()]
            made = self.stored(model, kind, [*place], lambda rows: make([missing[i] for i in rows]))
            self.held |= {(kind, name): row for name, row in zip(place, made, strict=True)}
        return torch.stack([self.held[kind, name] for name in names])

    def stored(
        self,
        model: Any,
        kind: str,
        names: Sequence[str],
        make: Callable[[list[int]], Tensor],
        tap: str = "pooled",
    ) -> Tensor:
        """The same of rows (N, ...) that are too large for memory: in the store, or made at every call.

        Args:
            tap: what of the teacher they are.
        """
        source = getattr(model, "cache", None)
        if source is not None and kind:
            found: Tensor = source.beside({**self.content, "tap": tap, "from": kind}, names, CHUNK, make)
            return found
        parts = []
        for start in range(0, len(names), CHUNK):
            some = [*range(start, min(start + CHUNK, len(names)))]
            parts.append(make(some + some[-1:] * (CHUNK - len(some)))[: len(some)])
        return torch.cat(parts)

    def bytes(self) -> int:
        """Those of all rows in memory."""
        return sum(row.numel() * row.element_size() for row in self.held.values())
