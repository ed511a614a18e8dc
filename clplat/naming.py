"""What runs are called: dotted parameters, labels, run names, and which runs differ only in their seed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from clplat.kinds import KINDS

__all__ = ["NAME_LENGTH", "flat", "label", "part", "run_name", "stream_names", "title", "variant"]

NAME_LENGTH = 24  # what the run column of MLflow shows


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dicts with dotted keys, without ``None`` and empty values.

    Example:
        >>> flat({"strategy": {"name": "replay", "size": 200}, "prompt": None, "seed": 0})
        {'strategy': 'replay', 'strategy.size': 200, 'seed': 0}
    """
    found: dict[str, Any] = {}
    for key, value in tree.items():
        # A part's name is the value of its slot: `strategy = replay` is the key to group by.
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


def label(config: Mapping[str, Any]) -> str:
    """What tells one method from another at a glance: ``"lora r8 ewc"``, or plain ``"replay"``."""
    words, before, after = [], _labelled("before"), _labelled("after")
    for slot in (*before, "strategy", *(slot for slot in after if slot != "strategy")):
        name, value = part(config, slot), config.get(slot)
        # The default of a slot says nothing in a name; the strategy is always named.
        if name not in ("", "none") and (slot == "strategy" or name != KINDS[slot].default):
            rank = value.get("rank", value.get("r")) if isinstance(value, Mapping) else None
            words.append(title(value) if rank is None else f"{title(value)} r{rank}")
    return " ".join(words) or "run"


def title(entry: Any) -> str:
    """A part with those that are together with it or inside it.

    Example:
        >>> title({"name": "ewc,replay", "ewc": {"lam": 5}})
        'ewc+replay'
        >>> title({"name": "shift", "inner": {"name": "sum"}})
        'shift(sum)'
    """
    if not isinstance(entry, Mapping):
        return str(entry).replace(",", "+")
    inside = [title(value) for value in entry.values() if isinstance(value, Mapping) and "name" in value]
    name = str(entry["name"]).replace(",", "+")
    return f"{name}({', '.join(inside)})" if inside else name


def _labelled(place: str) -> list[str]:
    return [slot for slot, kind in KINDS.items() if kind.label == place]


def run_name(config: Mapping[str, Any], called: str | None = None) -> str:
    """The name of a seed run, at most 24 characters: ``"lora r8 ewc s0"``; ``called`` instead of `label`."""
    seed = f" s{config.get('seed', 0)}"
    return (called or label(config))[: NAME_LENGTH - len(seed)].rstrip() + seed


def variant(config: Mapping[str, Any]) -> str:
    """Equal for runs that differ in nothing but the seed and the order of the stream, wherever they ran."""
    rest = {key: value for key, value in config.items() if key not in ("seed", "device")}
    if isinstance(rest.get("scenario"), Mapping):
        rest["scenario"] = {key: value for key, value in rest["scenario"].items() if key != "order"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, default=str).encode()).hexdigest()[:12]


def stream_names(streams: Sequence[Sequence[str]]) -> list[str]:
    """The domains of several runs by place: their names where all runs have one order, else ``1st``, ``2nd``.

    Example:
        >>> stream_names([["shoes", "bags"], ["bags", "shoes"]])
        ['1st', '2nd']
    """
    if not streams:
        return []
    first = list(streams[0])
    if all(list(stream) == first for stream in streams):
        return first
    endings = {1: "st", 2: "nd", 3: "rd"}
    places = range(1, max(map(len, streams)) + 1)
    return [f"{i}{'th' if 10 < i % 100 < 14 else endings.get(i % 10, 'th')}" for i in places]
