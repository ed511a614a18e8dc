"""One continual-learning method a file. Import them anywhere: ``from strategies import EWC``."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from strategies.baselines.cumulative import Cumulative
    from strategies.baselines.frozen import Frozen
    from strategies.baselines.naive import Naive
    from strategies.compatibility.backward_compatible import BackwardCompatible
    from strategies.distillation.distill import Distill
    from strategies.expansion.lora_per_domain import LoRAPerDomain
    from strategies.gradients.agem import AGEM
    from strategies.regularisation.ewc import EWC
    from strategies.rehearsal.replay import Replay
    from strategies.weight_space.patch import Patch

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
