"""PiSSA of directions that an iteration found, in files that PEFT reads as LoRA."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

__all__ = ["as_lora", "first_half"]


def as_lora(
    tensors: Mapping[str, Tensor], start: Mapping[str, Tensor], config: Mapping[str, Any]
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """PiSSA's weights as LoRA of twice the rank on the base as it was: ``B A - B_0 A_0``.

    PEFT would take other leading directions out of the base than an iteration found.

    Args:
        tensors, start: now, and when it was attached.
        config: of PEFT, as a dictionary.
    """
    found = dict(tensors)
    for key, first in start.items():
        first = first.cpu()
        if key.endswith("lora_A.weight"):
            found[key] = torch.cat([tensors[key], first])
        elif key.endswith("lora_B.weight"):
            found[key] = torch.cat([tensors[key], -first], dim=1)
    doubled = {key: 2 * config[key] for key in ("r", "lora_alpha")}
    return found, {**config, **doubled, "init_lora_weights": True}


def first_half(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """PiSSA's own weights of those that `as_lora` made."""
    found = {}
    for key, tensor in tensors.items():
        if key.endswith("lora_A.weight"):
            tensor = tensor[: len(tensor) // 2].contiguous()
        elif key.endswith("lora_B.weight"):
            tensor = tensor[:, : tensor.shape[1] // 2].contiguous()
        found[key] = tensor
    return found
