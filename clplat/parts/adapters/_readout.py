"""What adapters that stand behind the towers share: they read out, and change no weight."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clplat.errors import UserError
from clplat.models.backbone import Backbone
from clplat.models.names import refuse_wrapped
from clplat.models.readout import Readout, install_readout
from clplat.models.stages import Tower

__all__ = ["install", "refuse_others", "states_of"]


def refuse_others(backbone: Backbone, method: str, name: str) -> None:
    """A readout stands beside others of its own kind alone.

    Raises:
        UserError: the name is taken, adapters of another kind are attached, or the model is wrapped.
    """
    refuse_wrapped(backbone.model)
    installed = backbone.adapters.installed
    others = [one for one, entry in installed.items() if entry["method"] != method]
    if name in installed or others:
        raise UserError(f"'{(others or [name])[0]}' is attached already: merge it or choose another name")


def states_of(backbone: Backbone, towers: str) -> dict[Tower, tuple[int, int]]:
    """Of one tower or both: how many layers have states, and their width.

    Raises:
        UserError: an opaque tower has none.
    """
    sizes: dict[Tower, tuple[int | None, int | None]] = {
        "image": (backbone.image_layers, backbone.image_width),
        "text": (backbone.text_layers, backbone.text_width),
    }
    found: dict[Tower, tuple[int, int]] = {}
    for tower, (layers, width) in sizes.items():
        if towers not in ("both", tower):
            continue
        if layers is None or width is None:
            raise UserError(f"the {tower} tower of backbone '{backbone.name}' has no states to read")
        found[tower] = layers, width
    return found


def install(
    backbone: Backbone, method: str, name: str, readouts: Mapping[Tower, Readout], options: Mapping[str, Any]
) -> list[str]:
    """Read towers out by these from now on; earlier ones are frozen. Returns the names of what is trained."""
    state = backbone.adapters
    for one in state.installed:
        backbone.readouts[one].requires_grad_(False)
    for tower, readout in readouts.items():
        install_readout(backbone, tower, readout.to(backbone.logit_scale), name)
    state.add(name, method, **options)
    return [f"readouts.{name}.{key}" for key, _ in backbone.readouts[name].named_parameters()]
