"""Low-rank changes of linear layers, one beside the other: earlier ones frozen, one trained, all summed.

A layer computes ``W x + sum_t m_t B_t A_t x`` over the changes t in use. B is zero at first, so that a new
change is none; what is trained of it, how A is chosen and how the magnitudes m move is the method's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clplat.errors import UserError
from clplat.mechanisms.growth import Change, Grown, grow_at, grown_layers
from clplat.models.backbone import Backbone

__all__ = [
    "LowRank",
    "LowRankSum",
    "Make",
    "ScaledRanks",
    "ScaledSource",
    "grow",
    "linear",
    "low_rank_layers",
    "with_gains",
]


class LowRank(Change):
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

    of_weight = True

    def __init__(self, layer: nn.Linear, rank: int, magnitude: float = 1.0) -> None:
        super().__init__()
        like = layer.weight.detach()
        self.down = nn.Parameter(like.new_empty(rank, layer.in_features))
        self.up = nn.Parameter(like.new_zeros(layer.out_features, rank))
        self.magnitude = nn.Parameter(like.new_tensor(magnitude), requires_grad=False)
        self.gains: Tensor | None = None
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def factors(self) -> tuple[Tensor, Tensor]:
        """A (rank, in) and B (out, rank), as they are multiplied."""
        return self.down, self.up if self.gains is None else with_gains(self.up, self.gains)

    def forward(self, x: Tensor) -> Tensor:
        """What is added to the layer's output for its inputs (..., in)."""
        down, up = self.factors()
        made = F.linear(F.linear(x, down), up)
        return made * self.magnitude.to(made.dtype)  # autocast leaves products of numbers alone

    def delta(self) -> Tensor:
        """What is added to the layer's weight (out, in)."""
        down, up = self.factors()
        return self.magnitude * (up @ down)

    def fresh(self, layer: Any) -> LowRank:
        """Another of this rank and magnitude, as it is when it begins."""
        return type(self)(layer, len(self.down), float(self.magnitude))

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


class ScaledRanks(LowRank):
    """A change ``m B diag(w) A``, whose ranks have scales w of their own, drawn from a normal distribution.

    Example:
        >>> change = ScaledRanks(nn.Linear(3, 2), rank=2)
        >>> change.scales.data = torch.tensor([-0.5, 0.1])
        >>> change.shrink(0.2)
        >>> [round(scale, 1) for scale in change.scales.tolist()], change.alive()
        ([-0.3, 0.0], 1)
    """

    def __init__(self, layer: nn.Linear, rank: int, magnitude: float = 1.0) -> None:
        super().__init__(layer, rank, magnitude)
        self.scales = nn.Parameter(torch.randn(rank).to(self.down))

    def factors(self) -> tuple[Tensor, Tensor]:
        return self.down, self.up * self.scales

    @torch.no_grad()
    def shrink(self, threshold: float) -> None:
        """The proximal step of an L1 penalty: scales go to zero by this much, and stay there."""
        self.scales.copy_(self.scales.sign() * (self.scales.abs() - threshold).clamp_min(0))

    def alive(self) -> int:
        """How many ranks count."""
        return int(self.scales.count_nonzero())


def with_gains(weight: Tensor, gains: Tensor) -> Tensor:
    """The same numbers, whose gradient is multiplied."""
    return weight * gains + (weight * (1 - gains)).detach()


class LowRankSum(Grown):
    """A linear layer with the low-rank changes that have grown beside it, by name."""

    def in_use(self) -> list[LowRank]:
        """Its changes that count now, in the order in which they came."""
        return [change for change in self.used() if isinstance(change, LowRank)]

    def earlier(self) -> list[LowRank]:
        """Its changes but the newest."""
        return [change for change in self.changes.values() if isinstance(change, LowRank)][:-1]

    def newest(self) -> LowRank:
        """The change that came last."""
        change = [*self.changes.values()][-1]
        assert isinstance(change, LowRank)
        return change


class ScaledSource(LowRank):
    """A change whose output is multiplied by omega, a number or one for each output, where several are mixed.

    Args:
        layer, rank, magnitude: as of `LowRank`.
        each_output: omega is a vector.

    Attributes:
        mixed: omega counts.
    """

    def __init__(
        self, layer: nn.Linear, rank: int, magnitude: float = 1.0, each_output: bool = False
    ) -> None:
        super().__init__(layer, rank, magnitude)
        size = (layer.out_features, 1) if each_output else (1, 1)
        self.omega = nn.Parameter(self.up.detach().new_ones(size))
        self.mixed = False

    def factors(self) -> tuple[Tensor, Tensor]:
        return self.down, self.up * self.omega if self.mixed else self.up


def linear(path: str, layer: nn.Module) -> nn.Linear:
    """A layer that is linear.

    Raises:
        UserError: it is of another kind.
    """
    if not isinstance(layer, nn.Linear):
        raise UserError(f"'{path}' is a {type(layer).__name__}; low-rank changes are of linear layers")
    return layer


def low_rank_layers(backbone: Backbone) -> dict[str, LowRankSum]:
    """The layers of a backbone with low-rank changes, by the names that the layers have there."""
    return {path: one for path, one in grown_layers(backbone).items() if isinstance(one, LowRankSum)}


#: What makes a change of a layer, a rank and a magnitude.
Make: TypeAlias = Callable[[nn.Linear, int, float], LowRank]


def grow(
    backbone: Backbone,
    layers: Sequence[str],
    name: str,
    rank: int,
    magnitude: float = 1.0,
    kind: Make = LowRank,
) -> dict[str, LowRankSum]:
    """Add a change to these layers and use it beside those in use; earlier ones are frozen.

    Args:
        backbone: without adapters of another kind.
        layers: names of linear layers in ``backbone.model``.
        name: of the change.
        rank, magnitude: see `LowRank`; A is drawn from torch's generator.
        kind: of change, made of a layer, a rank and a magnitude.

    Returns:
        The layers, whose `LowRankSum.newest` is trained: its A and B, not its magnitude.

    Raises:
        UserError: the name is taken, other adapters are attached, or a layer is not linear.
    """

    def make(path: str, layer: nn.Module) -> LowRank:
        return kind(linear(path, layer), rank, magnitude)

    makers = {path: partial(make, path) for path in layers}
    grow_at(backbone, makers, name, "low rank", {"r": rank}, LowRankSum)
    return {path: one for path, one in low_rank_layers(backbone).items() if path in set(layers)}
