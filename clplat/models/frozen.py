"""A promise that a model stays as it is: what it computes meanwhile may be kept."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["weights_are_fixed", "weights_fixed"]

_DEPTH: ContextVar[int] = ContextVar("weights_fixed", default=0)


@contextmanager
def weights_fixed() -> Iterator[None]:
    """Promise that inside this block the model is the same at every call without gradients.

    Weights that are trained change at every step, so that nothing beyond the frozen bottom of a tower is
    worth keeping. An evaluation, or a teacher that is called again in every epoch, is another matter.

    Example:
        >>> with weights_fixed():
        ...     weights_are_fixed()
        True
    """
    token = _DEPTH.set(_DEPTH.get() + 1)
    try:
        yield
    finally:
        _DEPTH.reset(token)


def weights_are_fixed() -> bool:
    """Whether that promise holds now."""
    return _DEPTH.get() > 0
