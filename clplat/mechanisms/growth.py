"""What grows at layers of a backbone: changes beside or behind a layer, by name, that are nothing at first.

A layer with changes computes ``base(x)``, and each change in use is applied to that: a change of its weight
and more units of an MLP are added, another block follows. Which changes are trained is the method's.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from clplat.errors import UserError
from clplat.models.adapters import AdapterState
from clplat.models.backbone import Backbone

__all__ = ["Change", "Grown", "GrowthState", "copied", "grow_at", "grown_layers", "merge_grown", "prune"]


class Change(nn.Module):
    """What has grown at a layer under one name; `forward` says what it adds for the layer's inputs."""

    #: It is a change of the layer's tensors, as `deltas` says.
    of_weight: ClassVar[bool] = False
    #: What it makes of them is no sum: it depends on what they are.
    of_base: ClassVar[bool] = False

    def after(self, x: Tensor, out: Tensor, **more: Any) -> Tensor:
        """What becomes of the layer's output for its input, and for the other arguments of a block."""
        added: Tensor = self(x)
        return out + added

    def delta(self) -> Tensor:
        """What it adds to the layer's weight, if anything."""
        raise NotImplementedError

    def deltas(self, layer: Any) -> dict[str, Tensor]:
        """What it adds to the tensors of the layer at which it stands, by name."""
        return {"weight": self.delta()}

    def fresh(self, layer: Any) -> Change:
        """Another of its size at this layer, as it is when it begins; drawn from torch's generator."""
        raise NotImplementedError


class Grown(nn.Module):
    """A layer with the changes that have grown at it, by name."""

    def __init__(self, base_layer: nn.Module, state: GrowthState) -> None:
        super().__init__()
        self.base_layer, self.changes, self.state = base_layer, nn.ModuleDict(), state

    @property
    def weight(self) -> Tensor:
        """Of the layer itself, which other code asks for its type."""
        own = self.base_layer.weight
        assert isinstance(own, Tensor)
        return own

    def used(self) -> list[Any]:
        """Its changes that count now, in the order in which they came."""
        return [self.changes[name] for name in self.state.used if name in self.changes]

    def deltas(self) -> dict[str, Tensor]:
        """What the changes in use add to the layer's own tensors, by their names in it."""
        found: dict[str, list[Tensor]] = {}
        at: Any = self.base_layer
        for change in (change for change in self.used() if change.of_weight):
            if change.of_base and found:  # it stands on what the changes before it have made
                own = self.base_layer.named_parameters(recurse=False)
                at = SimpleNamespace(
                    **{name: torch.stack([p, *found.get(name, ())]).sum(0) for name, p in own}
                )
            for name, delta in change.deltas(at).items():
                found.setdefault(name, []).append(delta)
        return {name: torch.stack(deltas).sum(0) for name, deltas in found.items()}

    def forward(self, x: Tensor, **more: Any) -> Tensor:
        out: Tensor = self.base_layer(x, **more)
        for change in self.used():
            out = change.after(x, out, **more)
        return out


class GrowthState(AdapterState):
    """What has grown in a backbone.

    Attributes:
        used: names of the changes that count.
    """

    def __init__(self) -> None:
        super().__init__()
        self.used: tuple[str, ...] = ()

    @property
    def stacks(self) -> bool:
        return True

    @property
    def together(self) -> tuple[str, ...]:
        return self.used

    def use(self, names: Sequence[str]) -> None:
        """Count these changes from now on; none: the bare layers."""
        self.used = tuple(names)
        self.active = self.used[-1] if self.used else None

    def switch(self, name: str | None) -> None:
        super().switch(name)
        self.use([] if name is None else [name])

    def base_key(self, key: str) -> str:
        return key.replace(".base_layer.", ".")

    def in_use(self, module: nn.Module) -> tuple[nn.Module, frozenset[str]]:
        if not isinstance(module, Grown):
            return module, frozenset()
        if not module.used():
            return module.base_layer, frozenset()
        return module, frozenset(name for name in module.changes if name not in self.used)

    def knows(self, module: nn.Module) -> bool:
        return isinstance(module, Grown)

    def factors(self, network: nn.Module) -> frozenset[str]:
        return frozenset(
            f"{path}.changes.{name}.{key}"
            for path, layer in _grown(network)
            for name, change in layer.changes.items()
            if change.of_weight
            for key, _ in change.named_parameters()
        )

    @torch.no_grad()
    def deltas(self, network: nn.Module) -> dict[str, Tensor]:
        return {
            self.base_key(f"{path}.{name}"): delta
            for path, layer in _grown(network)
            for name, delta in layer.deltas().items()
        }

    def absorb(self, network: nn.Module, deltas: Mapping[str, Tensor]) -> None:
        if any(change.of_base for _, layer in _grown(network) for change in layer.used()):
            method = self.installed[self.active or ""]["method"]
            raise UserError(
                f"adapter '{method}' is no sum with the base weights, so that they cannot be moved; use "
                "--adapter lora or --adapter full"
            )
        super().absorb(network, deltas)


def grown_layers(backbone: Backbone) -> dict[str, Grown]:
    """The layers of a backbone at which something has grown, by the names that they have without it."""
    return {path.replace(".base_layer", ""): layer for path, layer in _grown(backbone.model)}


def grow_at(
    backbone: Backbone,
    layers: Mapping[str, Callable[[Any], Change]],
    name: str,
    method: str,
    options: Mapping[str, Any],
    place: Callable[[nn.Module, GrowthState], Grown] = Grown,
) -> dict[str, Grown]:
    """Let changes grow at these layers, beside those in use; earlier ones are frozen.

    Args:
        backbone: without adapters of another kind.
        layers: what makes the change of each layer, by the layers' names without adapters.
        name: of the changes.
        method, options: what is noted of them, see `AdapterState.installed`.
        place: what is put around a layer at which nothing has grown yet.

    Raises:
        UserError: the name is taken, or other adapters are attached.
    """
    state = GrowthState.around(backbone, name)
    for _, layer in _grown(backbone.model):
        layer.changes.requires_grad_(False)
    for path, make in layers.items():
        parent, child = _place(backbone.model, path)
        layer = getattr(parent, child)
        change = make(layer.base_layer if isinstance(layer, Grown) else layer)
        if not isinstance(layer, Grown):
            layer = place(layer, state)
            setattr(parent, child, layer)
        layer.changes[name] = change.train(backbone.training)
    state.add(name, method, **dict(options))
    state.use([*state.used, name])
    return {path: layer for path, layer in grown_layers(backbone).items() if path in layers}


def prune(backbone: Backbone, name: str) -> None:
    """Take a change out again: layers without another one are as they were before it grew."""
    state = backbone.adapters
    if not isinstance(state, GrowthState) or name not in state.installed:
        raise UserError(f"nothing has grown under the name '{name}'")
    for layer in grown_layers(backbone).values():
        if name in layer.changes:
            del layer.changes[name]
    _bare(backbone.model, keep=lambda layer: bool(layer.changes))
    del state.installed[name]
    state.use([other for other in state.used if other != name])
    if not state.installed:
        backbone.adapters = AdapterState()


def merge_grown(backbone: Backbone) -> None:
    """Add what the changes in use make of the layers' tensors to these, and take all changes out."""
    deltas = backbone.adapters.deltas(backbone.model)
    AdapterState.absorb(backbone.adapters, backbone.model, deltas)
    _bare(backbone.model)
    backbone.adapters = AdapterState()


def _bare(network: nn.Module, keep: Callable[[Grown], bool] = lambda layer: False) -> nn.Module:
    """Put the layers themselves in the place of those with changes, but for those to keep."""
    for module in [*network.modules()]:
        for name, layer in [*module.named_children()]:
            if isinstance(layer, Grown) and not keep(layer):
                setattr(module, name, layer.base_layer)
    return network.base_layer if isinstance(network, Grown) and not keep(network) else network


def copied(layer: nn.Module) -> nn.Module:
    """A copy of a layer without what has grown inside it, trainable."""
    return _bare(copy.deepcopy(layer)).requires_grad_(True)


def _place(network: nn.Module, path: str) -> tuple[nn.Module, str]:
    """The module that holds this layer, and its name there."""
    *above, child = path.split(".")
    for name in above:
        network = getattr(network, name)
        network = network.base_layer if isinstance(network, Grown) else network
    return network, child


def _grown(network: nn.Module) -> Iterator[tuple[str, Grown]]:
    for path, module in network.named_modules():
        if isinstance(module, Grown):
            yield path, module
