"""Packages of ours that lie beside `clplat`: they are its subpackages, and the short names are other names.

``strategies`` and ``scenarios`` are words that other people's folders have too. So their modules are imported
as ``clplat.strategies.regularisation.ewc``, wherever another ``strategies`` comes first on the path, and
``import strategies.regularisation.ewc`` gives the same module where ours comes first.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import ModuleType

__all__ = ["BESIDE", "ROOT", "home", "share"]

#: The folder that holds `clplat` and the packages installed beside it.
ROOT = Path(__file__).resolve().parents[1]
#: Those that are also found below `clplat`.
BESIDE = ("strategies", "scenarios")


def home(module: str) -> str:
    """The name that a module is imported by: ours are below `clplat`, all others are what they are called.

    Example:
        >>> home("strategies.regularisation.ewc"), home("strategies.of.somebody"), home("torch.nn")
        ('clplat.strategies.regularisation.ewc', 'strategies.of.somebody', 'torch.nn')
    """
    words = module.split(".")
    if words[0] not in BESIDE:
        return module
    path = ROOT.joinpath(*words)
    return f"clplat.{module}" if path.is_dir() or path.with_suffix(".py").exists() else module


def share() -> None:
    """From now on ``strategies.<name>`` is ``clplat.strategies.<name>``; our ``strategies`` calls this."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Finder(MetaPathFinder):
    """Finds modules of packages that lie beside us, by their short names."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        where = home(name) if "." in name else name
        found = importlib.util.find_spec(where) if where != name else None
        if found is None or found.origin is None:
            return None
        inside = found.submodule_search_locations
        return importlib.util.spec_from_file_location(
            name, found.origin, loader=_Same(name, found.origin), submodule_search_locations=inside
        )


class _Same(SourceFileLoader):
    """Loads a module by putting the one of its other name in its place."""

    def exec_module(self, module: ModuleType) -> None:
        sys.modules[module.__name__] = importlib.import_module(f"clplat.{module.__name__}")
