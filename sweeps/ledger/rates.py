"""One learning rate for each kind of what is trained: what suits whole towers teaches a low rank nothing.

Equal budget means the same triplets, epochs and batches. Rows of one kind on a stream, and what they are
compared with, share a rate, which `sweeps.ledger.study` chose; a recipe that names one of its own keeps it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from clplat.config.slots import options_of

__all__ = ["KINDS", "RATES", "Kind", "kind_of", "name_in"]

Kind = Literal["towers", "low rank", "prompts", "layers"]
KINDS: dict[Kind, str] = {
    "towers": "weights of the towers as they are, or copies of them",
    "low rank": "adapters with a rank or a narrow middle, on frozen towers",
    "prompts": "prompts, on frozen towers",
    "layers": "composers, heads and readouts behind frozen towers",
}
#: Stream -> kind -> rate. Products need less than drawn pictures: their model has seen their like.
RATES: dict[str, dict[Kind, float]] = {
    "catalogue": {"towers": 1e-3, "low rank": 3e-3, "prompts": 3e-1, "layers": 1e-2},
    "products": {"towers": 3e-4, "low rank": 1e-3, "prompts": 3e-3, "layers": 3e-4},
}


def kind_of(config: Mapping[str, Any]) -> Kind:
    """What a configuration of plain training trains.

    Example:
        >>> kind_of({"adapter": {"name": "lora"}}), kind_of({"adapter": {"name": "full", "last": 2}})
        ('low rank', 'towers')
        >>> kind_of({"adapter": {"name": "full", "last": 0}}), kind_of({"adapter": "none", "prompt": "deep"})
        ('layers', 'prompts')
    """
    name, part = name_in(config, "adapter") or "full", config.get("adapter", {})
    if name == "none":
        return "prompts" if name_in(config, "prompt") else "layers"
    if isinstance(part, Mapping) and part.get("last") == 0:
        return "layers"
    ranks = {"adapter.r", "adapter.rank", "adapter.init_r"} & options_of("adapter", name).keys()
    return "low rank" if ranks else "towers"


def name_in(config: Mapping[str, Any], slot: str) -> str:
    """The name of the part in a slot of a raw configuration; empty where there is none."""
    given = config.get(slot, "")
    return str(given.get("name", "") if isinstance(given, Mapping) else given)
