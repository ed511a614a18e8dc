"""clplat: continual learning for CLIP-based composed image retrieval.

What is public: the names below, what `clplat.parts` hands on for writing a part, the classes in `strategies`,
`scenarios` and the folders of `clplat.parts`, the modules of `clplat.mechanisms`, and `clplat.testing`. Every
other module is internal and may change.

Importing this package is cheap; torch and the other heavy libraries load when something is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clplat.dotted import trusted
    from clplat.errors import UserError
    from clplat.registry import load as part
    from clplat.registry import names
    from clplat.runs.evaluate import evaluate
    from clplat.runs.experiment import run
    from clplat.runs.load import load

__all__ = ["UserError", "__version__", "evaluate", "load", "names", "part", "run", "trusted"]

__version__ = "0.1.0"

_FROM = {
    "UserError": ("clplat.errors", "UserError"),
    "evaluate": ("clplat.runs.evaluate", "evaluate"),
    "load": ("clplat.runs.load", "load"),
    "names": ("clplat.registry", "names"),
    "part": ("clplat.registry", "load"),
    "run": ("clplat.runs.experiment", "run"),
    "trusted": ("clplat.dotted", "trusted"),
}


def __getattr__(name: str) -> Any:
    if name not in _FROM:
        raise AttributeError(f"module 'clplat' has no attribute '{name}'")
    from clplat.extras import named_extras

    module, attribute = _FROM[name]
    with named_extras(f"clplat.{name}"):
        return getattr(importlib.import_module(module), attribute)


def __dir__() -> list[str]:
    return __all__
