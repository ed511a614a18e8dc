"""The prompts of ours and of Mammoth's that are the same, and their arguments there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from clplat.parts.prompts.coda import CodaPrompt
from clplat.parts.prompts.pool import PoolPrompt

__all__ = ["CODA", "DUALPROMPT", "L2P", "components", "general_and_own", "model", "pool"]

L2P = {"length": 5, "pool_size_l2p": 10, "top_k": 5}
#: One prompt for each of five experiences, for each picture its own, and keys where keys belong.
DUALPROMPT = {
    "g_prompt_layer_idx": [0], "e_prompt_layer_idx": [1, 2], "size": 5, "batchwise_prompt": 0,
    "use_permute_fix": 1,
}  # fmt: skip
#: Ten components for five experiences.
CODA = {"pool_size": 10}


def model(name: str, **own: Any) -> Callable[[float], tuple[str, dict[str, Any]]]:
    """A model of theirs and its arguments, of a rate."""
    return lambda rate: (name, {**own, "lr": rate})


def pool() -> PoolPrompt:
    return PoolPrompt(size=10, top=5, length=5, form="tokens", pull=0.1, scale=1.0)


def general_and_own() -> PoolPrompt:
    return PoolPrompt(
        size=1, top=1, length=5, form="prefix", first=1, depth=2, general=1, pull=1.0, scale=1.0, inherit=True
    )


def components(orthogonality: float = 0.0) -> CodaPrompt:
    return CodaPrompt(components=2, length=8, depth=5, orthogonality=orthogonality)
