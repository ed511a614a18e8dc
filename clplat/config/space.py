"""Search-space markers for constructor annotations: the constructor is the configuration *and* the space.

They are plain data, so that a strategy or adapter can be annotated without importing Optuna::

    def __init__(self, lam: Annotated[float, Float(1.0, 1e4, log=True)] = 100.0) -> None: ...
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias


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
