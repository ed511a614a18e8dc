"""What runs are called: dotted parameters, labels, run names, and which runs differ only in their seed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

__all__ = ["NAME_LENGTH", "flat", "label", "part", "run_name", "variant"]

NAME_LENGTH = 24  # what the run column of MLflow shows


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dicts with dotted keys; ``None`` and empty values, which nobody chose, are left out.

    Example:
        >>> flat({"strategy": {"name": "replay", "size": 200}, "prompt": None, "seed": 0})
        {'strategy': 'replay', 'strategy.size': 200, 'seed': 0}
    """
    found: dict[str, Any] = {}
    for key, value in tree.items():
        # A part's name is the value of its slot: `strategy = replay` is what one groups by.
        name = (prefix if key == "name" else f"{prefix}.{key}") if prefix else str(key)
        if isinstance(value, Mapping):
            found |= flat(value, name)
        elif value is not None and value != [] and value != "":
            found[name] = value
    return found


def part(config: Mapping[str, Any], slot: str) -> str:
    """The name of the part in one slot, or an empty string."""
    value = config.get(slot)
    return str((value.get("name") if isinstance(value, Mapping) else value) or "")


# What a slot holds when nobody chose: it tells nothing in a name.
_PLAIN = ("", "none", "full", "identity")


def label(config: Mapping[str, Any]) -> str:
    """What tells one method from another at a glance: ``"lora r8 ewc"``, or plain ``"replay"``."""
    words = []
    for slot in ("adapter", "prompt", "strategy", "projection"):
        name, value = part(config, slot), config.get(slot)
        if name not in _PLAIN:
            rank = value.get("rank", value.get("r")) if isinstance(value, Mapping) else None
            words.append(name if rank is None else f"{name} r{rank}")
    return " ".join(words) or "run"


def run_name(config: Mapping[str, Any]) -> str:
    """The name of a seed run, at most 24 characters: ``"lora r8 ewc s0"``."""
    seed = f" s{config.get('seed', 0)}"
    return label(config)[: NAME_LENGTH - len(seed)].rstrip() + seed


def variant(config: Mapping[str, Any]) -> str:
    """Equal for runs that differ in nothing but the seed, wherever they ran."""
    rest = {key: value for key, value in config.items() if key not in ("seed", "device")}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, default=str).encode()).hexdigest()[:12]
