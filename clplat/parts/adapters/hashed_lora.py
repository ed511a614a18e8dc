"""LoRA whose factors are all read from one shared vector."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any

from clplat.config.space import Int
from clplat.mechanisms.hashed_factors import Hashed, hashed
from clplat.mechanisms.low_rank import LowRankSum
from clplat.models.backbone import Backbone
from clplat.parts.adapters._changes import Changes, Targets, Where, check_where, linear_layers

__all__ = ["HashedLoRA"]


class HashedLoRA(Changes):
    """STABLE-RPS for LoRA: A and B of all layers of both towers are read from one vector, in pieces.

    A piece of the vector serves several places, in the layer or in others, as a hash of the place says. The
    vector can be of any size: a tenth of LoRA's, a thousandth; at full size the map is one-to-one, and this
    is LoRA, number for number. B's part is zero at first, so that attaching changes nothing.

    Args:
        size: numbers of the vector, which are all that is trained; None: as many as LoRA's.
        r: rank of each change.
        alpha: a change is ``alpha / r * B A``.
        piece: numbers that stay together, as memory is read best.
        targets: layers that are changed: a kind, or names of modules.
        towers: one tower or both.
        last: only this many last blocks of each tower; default all.

    Raises:
        ValueError: a size, a rank or a scale that is not positive, pieces of which fewer than two fit.

    Reference:
        Desai and Shrivastava, "In defense of parameter sharing for model-compression", ICLR 2024,
        arXiv:2310.11611.

    Example:
        >>> from clplat.testing.tiny import tiny_backbone
        >>> backbone = tiny_backbone()
        >>> (name,) = HashedLoRA(size=256).attach(backbone)
        >>> backbone.get_parameter(name).numel()
        256
    """

    method = "hashed_lora"
    place = LowRankSum

    def __init__(
        self,
        size: Annotated[int | None, Int(256, 65536, log=True)] = 4096,
        r: Annotated[int, Int(2, 32, log=True)] = 8,
        alpha: float = 16.0,
        piece: int = 16,
        targets: Targets = "both",
        towers: Where = "both",
        last: int | None = None,
    ) -> None:
        if min(r, piece) < 1 or not alpha > 0 or (size is not None and size < 2 * piece):
            raise ValueError(
                "r, piece and alpha must be positive and size at least two pieces, "
                f"not {r}, {piece}, {alpha} and {size}"
            )
        check_where(towers)
        self.size, self.r, self.alpha, self.piece = size, r, alpha, piece
        self.targets, self.towers, self.last = targets, towers, last

    def makers(self, backbone: Backbone) -> Mapping[str, Callable[[Any], Hashed]]:
        layers = linear_layers(backbone, self.targets, self.towers, self.last, self.r)
        return hashed(layers, self.r, self.alpha / self.r, self.size, self.piece)
