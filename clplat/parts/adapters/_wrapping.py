"""What PEFT puts around the layers of a backbone: find it, remove it, keep it apart from the base weights."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from clplat.models.adapters import AdapterState
from clplat.models.backbone import Backbone
from clplat.parts.adapters._state import PeftState

__all__ = ["digest_of", "flags_of", "forget", "layers", "quiet", "train_only_new", "undo"]


def layers(backbone: Backbone) -> list[Any]:
    """PEFT's layers in the model."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    return [module for module in backbone.model.modules() if isinstance(module, BaseTunerLayer)]


def flags_of(backbone: Backbone) -> dict[str, bool]:
    """``requires_grad`` by name, base tensors under their own names whatever is wrapped around them."""
    return {backbone.base_key(key) or key: p.requires_grad for key, p in backbone.model.named_parameters()}


def train_only_new(backbone: Backbone, flags: dict[str, bool]) -> list[str]:
    """Base tensors as their ``flags`` were, earlier adapters frozen; the names of what is new and trained."""
    trained = []
    for key, parameter in backbone.model.named_parameters():
        plain = backbone.base_key(key)
        if plain is not None:
            parameter.requires_grad_(flags[plain])
        elif key in flags:
            parameter.requires_grad_(False)
        elif parameter.requires_grad:
            trained.append(f"model.{key}")
    return trained


def undo(backbone: Backbone, name: str, flags: dict[str, bool], base: dict[str, Tensor]) -> None:
    """Take out what a failed `attach` left, and put the ``base`` tensors back that it may have rewritten."""
    if isinstance(backbone.adapters, PeftState):
        for layer in layers(backbone):
            layer.delete_adapter(name)
        backbone.adapters.peft_model.peft_config.pop(name, None)
        for key, parameter in backbone.model.named_parameters():
            parameter.requires_grad_(flags[backbone.base_key(key) or key])
        return
    wrapped = {id(layer) for layer in layers(backbone)}
    for key, module in list(backbone.model.named_modules()):
        if id(module) in wrapped:
            parent, _, child = key.rpartition(".")
            setattr(backbone.model.get_submodule(parent), child, module.get_base_layer())
    forget(backbone, flags)
    for key, value in base.items():
        backbone.model.get_parameter(key).data.copy_(value)


def forget(backbone: Backbone, flags: dict[str, bool]) -> None:
    """Leave a backbone without adapters as if there had never been one."""
    if hasattr(backbone.model, "peft_config"):
        del backbone.model.peft_config
    backbone.adapters = AdapterState()
    for key, parameter in backbone.model.named_parameters():
        parameter.requires_grad_(flags[key])
    assert backbone.base_keys == set(backbone.model.state_dict()), "an adapter left tensors behind"


def digest_of(backbone: Backbone, modules: list[str]) -> str:
    """SHA-256 of the base weights of these modules."""
    state, wanted = backbone.base_state(), set(modules)
    digest = hashlib.sha256()
    for key in sorted(key for key in state if key.rpartition(".")[0] in wanted):
        digest.update(f"{key} {state[key].dtype}".encode())
        digest.update(state[key].detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


@contextmanager
def quiet() -> Iterator[None]:
    """Drop PEFT's warnings: they are about other models, or about what is checked here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
