"""Options of strategies that grow low-rank changes of a backbone's layers, one for each domain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from torch import nn

from clplat.config.space import Int
from clplat.errors import UserError
from clplat.mechanisms.low_rank import LowRankSum, grow
from clplat.models.backbone import Backbone
from clplat.parts.adapters._targets import check_rank, resolve

__all__ = ["Growing", "grown_backbone"]


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

    def grow(self, model: nn.Module, domain: int, strategy: str) -> dict[str, LowRankSum]:
        """Add the change of a domain, counted from 0, to the backbone of a retriever; see `grow`.

        Raises:
            UserError: the model has no backbone, or it has an adapter or a prompt of another kind.
        """
        backbone = grown_backbone(model, strategy, first=domain == 0)
        return grow(backbone, self.layers(backbone), f"domain{domain}", self.r, self.alpha / self.r)

    def layers(self, backbone: Backbone) -> list[str]:
        """Names of the layers that are changed."""
        found = resolve(backbone, self.targets, self.towers, self.last)
        check_rank(backbone, found, self.r)
        return found


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
