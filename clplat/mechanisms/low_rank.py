"""Low-rank changes of linear layers, one beside the other: earlier ones frozen, one trained, all summed.

A layer computes ``W x + sum_t m_t B_t A_t x`` over the changes t in use. B is zero at first, so that a new
change is none; what is trained of it, how A is chosen and how the magnitudes m move is the method's.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clplat.errors import UserError
from clplat.models.adapters import AdapterState
from clplat.models.backbone import Backbone

__all__ = ["LowRank", "LowRankState", "LowRankSum", "grow", "low_rank_layers", "prune"]


class LowRank(nn.Module):
    """One change of a layer, ``m B A`` with A (rank, in) and B (out, rank); none at first.

    Args:
        layer: whose weight (out, in) is changed; nothing of it is kept.
        rank: of the change.
        magnitude: m, which is trained where a method says so.

    Attributes:
        gains: by which gradients of B's rows (out, 1) are multiplied; none unless a method sets them.

    Example:
        >>> change = LowRank(nn.Linear(3, 2), rank=1, magnitude=2.0)
        >>> change.delta().shape, int(change.delta().count_nonzero())
        (torch.Size([2, 3]), 0)
    """

    def __init__(self, layer: nn.Linear, rank: int, magnitude: float = 1.0) -> None:
        super().__init__()
        like = layer.weight.detach()
        self.down = nn.Parameter(like.new_empty(rank, layer.in_features))
        self.up = nn.Parameter(like.new_zeros(layer.out_features, rank))
        self.magnitude = nn.Parameter(like.new_tensor(magnitude), requires_grad=False)
        self.gains: Tensor | None = None
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        """What is added to the layer's output for its inputs (..., in)."""
        up = self.up if self.gains is None else _with_gains(self.up, self.gains)
        made = F.linear(F.linear(x, self.down), up)
        return made * self.magnitude.to(made.dtype)  # autocast leaves products of numbers alone

    def delta(self) -> Tensor:
        """What is added to the layer's weight (out, in)."""
        return self.magnitude * (self.up @ self.down)

    @torch.no_grad()
    def make_orthonormal(self) -> None:
        """Draw A anew, with orthonormal rows: a QR decomposition of uniform numbers."""
        drawn = torch.rand(self.down.shape[1], self.down.shape[0])
        self.down.copy_(torch.linalg.qr(drawn).Q.T)

    @torch.no_grad()
    def decouple(self) -> None:
        """Make A and B directions, of length one, whose lengths go into the magnitude: the change stays."""
        for factor in (self.down, self.up):
            length = factor.norm()
            if length > 0:
                factor.div_(length)
                self.magnitude.mul_(length)


def _with_gains(weight: Tensor, gains: Tensor) -> Tensor:
    """The same numbers, whose gradient is multiplied."""
    return weight * gains + (weight * (1 - gains)).detach()


class LowRankSum(nn.Module):
    """A linear layer with the changes that have grown beside it, by name."""

    def __init__(self, base_layer: nn.Linear, state: LowRankState) -> None:
        super().__init__()
        self.base_layer, self.changes, self.state = base_layer, nn.ModuleDict(), state

    @property
    def weight(self) -> Tensor:
        """Of the layer itself, which other code asks for its type."""
        return self.base_layer.weight

    def in_use(self) -> list[LowRank]:
        """Its changes that count now, in the order in which they came."""
        found = [self.changes[name] for name in self.state.used if name in self.changes]
        return [change for change in found if isinstance(change, LowRank)]

    def earlier(self) -> list[LowRank]:
        """Its changes but the newest."""
        return [change for change in self.changes.values() if isinstance(change, LowRank)][:-1]

    def newest(self) -> LowRank:
        """The change that came last."""
        change = [*self.changes.values()][-1]
        assert isinstance(change, LowRank)
        return change

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.base_layer(x)
        for change in self.in_use():
            out = out + change(x)
        return out


class LowRankState(AdapterState):
    """The low-rank changes of a backbone.

    Attributes:
        used: names of the changes that are summed.
    """

    def __init__(self) -> None:
        super().__init__()
        self.used: tuple[str, ...] = ()

    def use(self, names: Sequence[str]) -> None:
        """Sum these changes from now on; none: the bare layers."""
        self.used = tuple(names)
        self.active = self.used[-1] if self.used else None

    def base_key(self, key: str) -> str:
        return key.replace(".base_layer.", ".")

    def in_use(self, module: nn.Module) -> tuple[nn.Module, frozenset[str]]:
        if not isinstance(module, LowRankSum):
            return module, frozenset()
        if not module.in_use():
            return module.base_layer, frozenset()
        return module, frozenset(name for name in module.changes if name not in self.used)

    def knows(self, module: nn.Module) -> bool:
        return isinstance(module, LowRankSum)

    def factors(self, network: nn.Module) -> frozenset[str]:
        return frozenset(
            f"{path}.changes.{key}"
            for path, layer in _sums(network)
            for key, _ in layer.changes.named_parameters()
        )

    @torch.no_grad()
    def deltas(self, network: nn.Module) -> dict[str, Tensor]:
        return {
            f"{path}.weight": torch.stack([change.delta() for change in layer.in_use()]).sum(0)
            for path, layer in _sums(network)
            if layer.in_use()
        }


def low_rank_layers(backbone: Backbone) -> dict[str, LowRankSum]:
    """The layers of a backbone with low-rank changes, by the names that the layers have there."""
    return dict(_sums(backbone.model))


def grow(
    backbone: Backbone, layers: Sequence[str], name: str, rank: int, magnitude: float = 1.0
) -> dict[str, LowRankSum]:
    """Add a change to these layers and use it beside those in use; earlier ones are frozen.

    Args:
        backbone: without adapters of another kind.
        layers: names of linear layers in ``backbone.model``.
        name: of the change.
        rank, magnitude: see `LowRank`; A is drawn from torch's generator.

    Returns:
        The layers, whose `LowRankSum.newest` is trained: its A and B, not its magnitude.

    Raises:
        UserError: the name is taken, other adapters are attached, or a layer is not linear.
    """
    state = LowRankState.around(backbone, name)
    for _, layer in _sums(backbone.model):
        layer.changes.requires_grad_(False)
    for path in layers:
        parent, _, child = path.rpartition(".")
        layer = backbone.model.get_submodule(path)
        if isinstance(layer, nn.Linear):
            layer = LowRankSum(layer, state)
            setattr(backbone.model.get_submodule(parent), child, layer)
        if not isinstance(layer, LowRankSum):
            raise UserError(f"'{path}' is a {type(layer).__name__}; low-rank changes are of linear layers")
        layer.changes[name] = LowRank(layer.base_layer, rank, magnitude).train(backbone.training)
    state.add(name, "low rank", r=rank)
    state.use([*state.used, name])
    return {path: layer for path, layer in _sums(backbone.model) if path in set(layers)}


def prune(backbone: Backbone, name: str) -> None:
    """Take a change out again: layers without another one are as they were before it grew."""
    state = backbone.adapters
    if not isinstance(state, LowRankState) or name not in state.installed:
        raise UserError(f"no low-rank change '{name}' has grown")
    for path, layer in [*_sums(backbone.model)]:
        if name in layer.changes:
            del layer.changes[name]
        if not layer.changes:
            parent, _, child = path.rpartition(".")
            setattr(backbone.model.get_submodule(parent), child, layer.base_layer)
    del state.installed[name]
    state.use([other for other in state.used if other != name])
    if not state.installed:
        backbone.adapters = AdapterState()


def _sums(network: nn.Module) -> Iterator[tuple[str, LowRankSum]]:
    for path, module in network.named_modules():
        if isinstance(module, LowRankSum):
            yield path, module
