"""Blocks of open_clip with the weights of transformers' encoders, and what their configurations share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from clplat.errors import UserError
from clplat.models.hugging_face.held import Held

__all__ = ["activation", "blocks", "mlp_ratio", "norm"]

#: What open_clip is told for each activation: its two are the exact GELU and OpenAI's quick one.
_ACTIVATIONS: dict[str, dict[str, Any]] = {
    "gelu": {},
    "gelu_new": {"act_kwargs": {"approximate": "tanh"}},
    "gelu_pytorch_tanh": {"act_kwargs": {"approximate": "tanh"}},
}
_BLOCK = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "self_attn.out_proj": "attn.out_proj",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}
_FUSED = ("q_proj", "k_proj", "v_proj")


def blocks(held: Held, source: str, target: str, count: int) -> dict[str, Tensor]:
    """The residual blocks of a tower: ``<source>.encoder.layers`` -> ``<target>transformer.resblocks``."""
    found: dict[str, Tensor] = {}
    for i in range(count):
        theirs, ours = f"{source}.encoder.layers.{i}", f"{target}transformer.resblocks.{i}"
        found |= held.layers(theirs, ours, _BLOCK)
        attention = [f"{theirs}.self_attn.{name}" for name in _FUSED]
        found |= {f"{ours}.attn.in_proj_{part}": held.joined(attention, part) for part in ("weight", "bias")}
    return found


def activation(tower: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The activation of a tower as open_clip's configuration of it says it.

    Raises:
        UserError: one that open_clip does not have.
    """
    name = tower["hidden_act"]
    if name not in _ACTIVATIONS:
        allowed = ", ".join([*_ACTIVATIONS, "quick_gelu"])
        raise UserError(f"{where}: hidden_act is '{name}' (allowed: {allowed}; quick_gelu in both towers)")
    return _ACTIVATIONS[name]


def norm(tower: Mapping[str, Any]) -> dict[str, Any]:
    """The epsilon of a tower's norms, where it is not torch's own."""
    epsilon = tower["layer_norm_eps"]
    return {} if epsilon == 1e-5 else {"norm_kwargs": {"eps": epsilon}}


def mlp_ratio(tower: Mapping[str, Any]) -> float:
    """Hidden over outer width of an MLP, such that open_clip, which cuts the product, finds the first."""
    width, hidden = int(tower["hidden_size"]), int(tower["intermediate_size"])
    ratio = hidden / width
    return ratio if int(width * ratio) == hidden else (hidden + 0.5) / width
