"""Options of strategies that grow a backbone with every domain: low-rank changes, units, blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal

from torch import nn

from clplat.config.space import Int
from clplat.errors import UserError
from clplat.mechanisms.growth import Change, Grown, GrowthState, grow_at
from clplat.mechanisms.low_rank import LowRank, LowRankSum, Make, grow, low_rank_layers
from clplat.mechanisms.width_and_depth import BlockBehind, Units
from clplat.models.backbone import Backbone
from clplat.models.names import refuse_wrapped
from clplat.parts.adapters._blocks import blocks
from clplat.parts.adapters._targets import check_rank, resolve

__all__ = ["Blocks", "Growing", "MoreUnits", "PerDomain", "counted", "grown_backbone", "put"]


@dataclass(frozen=True)
class Growing:
    """Low-rank changes of layers, one more for each domain.

    Args:
        r: rank of each.
        alpha: a change is ``alpha / r * B A``.
        targets: layers that are changed: a kind, or names of modules.
        towers: one tower or both.
        last: only this many last blocks of each tower; default all.

    Raises:
        ValueError: a rank or a scale that is not positive, another tower.
    """

    r: Annotated[int, Int(2, 32, log=True)] = 8
    alpha: float = 16.0
    targets: Literal["mlp", "attention", "both"] | Sequence[str] = "both"
    towers: Literal["both", "image", "text"] = "both"
    last: int | None = None

    def __post_init__(self) -> None:
        if self.r < 1 or not self.alpha > 0:
            raise ValueError(f"r must be at least 1 and alpha above 0, not {self.r} and {self.alpha}")
        if self.towers not in ("both", "image", "text"):
            raise ValueError(f"towers is '{self.towers}'; allowed: both, image, text")

    def grow(
        self, model: nn.Module, domain: int, strategy: str, kind: Make = LowRank
    ) -> dict[str, LowRankSum]:
        """Add the change of a domain, counted from 0, to the backbone of a retriever; see `grow`.

        Raises:
            UserError: the model has no backbone, or it has an adapter or a prompt of another kind.
        """
        backbone = grown_backbone(model, strategy, first=domain == 0)
        return grow(backbone, self.layers(backbone), f"domain{domain}", self.r, self.alpha / self.r, kind)

    def layers(self, backbone: Backbone) -> list[str]:
        """Names of the layers that are changed."""
        found = resolve(backbone, self.targets, self.towers, self.last)
        check_rank(backbone, found, self.r)
        return found


@dataclass(frozen=True)
class MoreUnits:
    """Hidden units that the MLPs of the towers gain, see `Units`.

    Args:
        count: of each MLP.
        towers: one tower or both.
    """

    count: int
    towers: Literal["both", "image", "text"] = "both"

    def grow(self, model: nn.Module, domain: int, strategy: str) -> Mapping[str, Grown]:
        """As `Growing.grow`."""
        backbone = grown_backbone(model, strategy, first=domain == 0)
        options = {"units": self.count, "towers": self.towers}
        return grow_at(backbone, self.layers(backbone), f"domain{domain}", "wider", options)

    def layers(self, backbone: Backbone) -> dict[str, Callable[[Any], Change]]:
        """What makes the units of each MLP, by its name."""
        mlps = [f"{block}.mlp" for tower in blocks(backbone, self.towers) for block in tower]
        return dict.fromkeys(mlps, partial(Units, count=self.count))


@dataclass(frozen=True)
class Blocks:
    """A block that each tower gains behind its last one, see `BlockBehind`."""

    def grow(self, model: nn.Module, domain: int, strategy: str) -> Mapping[str, Grown]:
        """As `Growing.grow`."""
        backbone = grown_backbone(model, strategy, first=domain == 0)
        last = [tower[-1] for tower in blocks(backbone, "both")]
        return grow_at(backbone, dict.fromkeys(last, BlockBehind), f"domain{domain}", "block behind", {})


class PerDomain:
    """The low-rank changes that a strategy grows, one for each domain, and again after a resume.

    Args:
        options: of each change.
        strategy: whose they are, for messages.
        kind: of change.

    Attributes:
        domains: how many there have been.
    """

    def __init__(self, options: Growing, strategy: str, kind: Make = LowRank) -> None:
        self.options, self.strategy, self.kind = options, strategy, kind
        self.domains = 0

    def grow(self, model: nn.Module) -> dict[str, LowRankSum]:
        """Add the change of the next domain."""
        self.domains += 1
        return self.options.grow(model, self.domains - 1, self.strategy, self.kind)

    def again(self, model: nn.Module) -> Iterator[dict[str, LowRankSum]]:
        """Add the changes of all domains so far, in order, to a model that has none."""
        for domain in range(self.domains):
            yield self.options.grow(model, domain, self.strategy, self.kind)

    def layers(self, model: nn.Module) -> dict[str, LowRankSum]:
        """The layers that have grown, by name."""
        return low_rank_layers(grown_backbone(model, self.strategy, first=not self.domains))

    def state_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {"domains": self.domains}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.domains = state["domains"]


def put(
    backbone: Backbone,
    layers: Mapping[str, Callable[[Any], Change]],
    name: str,
    method: str,
    options: Mapping[str, Any],
    place: Callable[[nn.Module, GrowthState], Grown] = Grown,
) -> list[str]:
    """Let an adapter's changes grow at these layers and use them alone; the names of what is trained.

    Args:
        layers, name, method, options, place: as in `grow_at`.

    Raises:
        UserError: the name is taken, adapters of another kind are attached, or the model is wrapped.
    """
    refuse_wrapped(backbone.model)
    found = grow_at(backbone, layers, name, method, options, place)
    like = backbone.logit_scale
    made = [layer.changes[name].to(like) for layer in found.values()]
    backbone.adapters.switch(name)
    trained = {id(p) for change in made for p in change.parameters() if p.requires_grad}
    return [key for key, parameter in backbone.named_parameters() if id(parameter) in trained]


def grown_backbone(model: nn.Module, strategy: str, first: bool) -> Backbone:
    """The backbone that a strategy grows.

    Args:
        first: nothing has grown yet, so that nothing in it may be trained.

    Raises:
        UserError: there is none, or an adapter or a prompt is trained in it.
    """
    backbone = getattr(model, "backbone", None)
    if not isinstance(backbone, Backbone):
        raise UserError(
            f"{strategy} needs a ComposedRetriever as the model: it adds to the layers of its towers"
        )
    if first and any(p.requires_grad for p in backbone.parameters()):
        raise UserError(
            f"strategy '{strategy}' brings its own adapters: use it with --adapter none and no prompt"
        )
    return backbone


def counted(state: Mapping[str, Any]) -> dict[str, Any]:
    """The state of a strategy with `PerDomain` as ``changes``, also where it still counted domains itself."""
    return {**state} if "changes" in state else {**state, "changes": {"domains": state["domains"]}}
