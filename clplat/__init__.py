"""clplat: continual learning for CLIP-based composed image retrieval.

Importing this package is cheap; torch and the other heavy libraries load when something is used.
"""

from __future__ import annotations

from typing import Any

__all__ = ["UserError", "__version__", "load", "names", "run"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name == "run":
        from clplat.runs.experiment import run

        return run
    if name in ("load", "names"):
        from clplat import registry

        return getattr(registry, name)
    if name == "UserError":
        from clplat.errors import UserError

        return UserError
    raise AttributeError(f"module 'clplat' has no attribute '{name}'")
