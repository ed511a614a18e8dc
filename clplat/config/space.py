"""Search-space markers for constructor annotations: the constructor is the configuration *and* the space.

They are plain data, so that a strategy or adapter can be annotated without importing Optuna::

    def __init__(self, lam: Annotated[float, Float(1.0, 1e4, log=True)] = 100.0) -> None: ...
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias, get_args, get_origin, get_type_hints

__all__ = ["Choice", "Float", "Int", "Space", "search_space"]


@dataclass(frozen=True)
class Float:
    """A real number in [low, high]; ``log`` samples it on a logarithmic scale."""

    low: float
    high: float
    log: bool = False


@dataclass(frozen=True)
class Int:
    """A whole number in [low, high]; ``log`` samples it on a logarithmic scale."""

    low: int
    high: int
    log: bool = False


@dataclass(frozen=True, init=False)
class Choice:
    """One of the listed values."""

    values: tuple[Any, ...]

    def __init__(self, *values: Any) -> None:
        object.__setattr__(self, "values", values)


Space: TypeAlias = Float | Int | Choice


def search_space(constructor: Callable[..., Any]) -> dict[str, Space]:
    """Read the annotated search space of a class or function.

    Example:
        >>> def part(a: Annotated[float, Float(0.0, 1.0)] = 0.5, b: int = 3) -> None: ...
        >>> search_space(part)
        {'a': Float(low=0.0, high=1.0, log=False)}
    """
    target = constructor.__init__ if isinstance(constructor, type) else constructor  # type: ignore[misc]
    hints = get_type_hints(target, include_extras=True)
    space: dict[str, Space] = {}
    for name, hint in hints.items():
        if get_origin(hint) is Annotated:
            marks = [mark for mark in get_args(hint)[1:] if isinstance(mark, Float | Int | Choice)]
            if marks:
                space[name] = marks[0]
    return space
