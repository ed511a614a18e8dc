"""One continual-learning method a file. Import them anywhere: ``from strategies import EWC``."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from strategies.agem import AGEM
    from strategies.backward_compatible import BackwardCompatible
    from strategies.cumulative import Cumulative
    from strategies.distill import Distill
    from strategies.ewc import EWC
    from strategies.frozen import Frozen
    from strategies.lora_per_domain import LoRAPerDomain
    from strategies.naive import Naive
    from strategies.patch import Patch
    from strategies.replay import Replay

__all__ = [
    "AGEM",
    "EWC",
    "BackwardCompatible",
    "Cumulative",
    "Distill",
    "Frozen",
    "LoRAPerDomain",
    "Naive",
    "Patch",
    "Replay",
]
_FILES = {name: name.lower() for name in __all__} | {
    "BackwardCompatible": "backward_compatible",
    "LoRAPerDomain": "lora_per_domain",
}


def __getattr__(name: str) -> Any:
    # One method a time: using EWC in a plain loop does not import what LoRAPerDomain needs.
    if name in _FILES:
        return getattr(importlib.import_module(f"strategies.{_FILES[name]}"), name)
    raise AttributeError(f"module 'strategies' has no attribute '{name}'")
