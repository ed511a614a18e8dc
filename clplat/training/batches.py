"""Where the pictures of a batch are decoded."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from clplat.data.batch import Batch
from clplat.data.records import Example

__all__ = ["loaded"]


def loaded(collate: Callable[[Sequence[Example]], Batch], examples: Sequence[Example]) -> Batch:
    """Collate, and decode the pixels now: in the loader's process, where there is one."""
    return collate(examples).loaded()
