"""Strategies in other people's loops: torch, accelerate, Lightning, Hugging Face, open_clip, Avalanche.

One module per library, imported when it is asked for; docs/integrations.md shows each in use.
"""

from __future__ import annotations

import importlib
from types import ModuleType

from clplat.errors import UserError

__all__ = ["library"]


def library(name: str) -> ModuleType:
    """Import a library that an integration is for.

    Raises:
        UserError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.partition(".")[0].replace("_", "-")
        raise UserError(
            f"{name} cannot be imported ({error}): pip install {package}, or all that is tested here by the "
            "extra [test-integrations]"
        ) from error
