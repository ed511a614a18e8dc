"""The names of Avalanche that clplat uses, imported without libraries that only other parts of it call.

Avalanche imports all of itself at once, and with it torchmetrics, Weights & Biases, gdown and JAX: a quarter
of the time in which a run starts.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any

__all__ = [
    "CLScenario",
    "DataAttribute",
    "DatasetExperience",
    "EagerCLStream",
    "EvaluationPlugin",
    "SupervisedPlugin",
    "SupervisedTemplate",
    "deferred",
    "make_avalanche_dataset",
]


class _Later(ModuleType):
    """Stands for a module in those that imported it, and imports it when something of it is used."""

    def __getattr__(self, name: str) -> Any:
        if sys.modules.get(self.__name__) is not self:
            return getattr(import_module(self.__name__), name)
        if name.startswith("__"):  # what the machinery of imports looks for
            raise AttributeError(name)
        return _function(self.__name__, name)


def _function(module: str, name: str) -> Callable[..., Any]:
    """What ``from module import name`` gives: for functions only."""

    def call(*given: Any, **named: Any) -> Any:
        return getattr(import_module(module), name)(*given, **named)

    return call


@contextmanager
def deferred(*modules: str, absent: tuple[str, ...] = ()) -> Iterator[None]:
    """Imports inside meet stand-ins of these modules, which import the real ones when they are used.

    Modules that are imported already stay as they are.

    Args:
        modules: imported whole, or for functions.
        absent: those that are optional to who imports them; they seem not to be installed.

    Example:
        >>> _ = sys.modules.pop("wave", None)
        >>> with deferred("wave"):
        ...     import wave
        >>> type(wave).__name__, wave.open.__module__
        ('_Later', 'wave')
    """
    stand_ins = {name: _Later(name) for name in modules} | dict.fromkeys(absent)
    new = {name: module for name, module in stand_ins.items() if name not in sys.modules}
    sys.modules.update(new)  # type: ignore[arg-type]  # None says that there is no such module
    try:
        yield
    finally:
        for name, module in new.items():
            if sys.modules.get(name, module) is module:
                sys.modules.pop(name, None)


# JAX comes by qpsolvers, of whose solvers Avalanche's GEM needs another.
with deferred("torchmetrics", "torchmetrics.functional", "wandb", "gdown", absent=("jax",)):
    from avalanche.benchmarks import CLScenario, DatasetExperience, EagerCLStream
    from avalanche.benchmarks.utils import DataAttribute, make_avalanche_dataset
    from avalanche.core import SupervisedPlugin
    from avalanche.training.plugins import EvaluationPlugin
    from avalanche.training.templates import SupervisedTemplate
