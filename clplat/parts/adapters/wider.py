"""Growth in width: more hidden units in the MLPs of a tower."""

from __future__ import annotations

from typing import Annotated, Literal

from clplat.config.space import Int
from clplat.models.backbone import Backbone
from clplat.parts.adapters._base import Adapter
from clplat.parts.adapters._growing import MoreUnits, put

__all__ = ["Wider"]


class Wider(Adapter):
    """MLPs with ``units`` more hidden units each: ``MLP(h) + C a(F h + b)``, C zero at first.

    That is one MLP of more units. Each new one begins with the incoming weights of one that is there and with
    outgoing weights of zero, so that the wider model is the one that it grew from. Those that were there stay
    frozen, and with them the bare base.

    Args:
        units: that each MLP gains.
        towers: one tower or both.

    Raises:
        ValueError: fewer than one unit, another tower.

    What is trained: ``units * (2 W + 1)`` numbers for a block of width W.

    References:
        Chen et al., "Net2Net", ICLR 2016, arXiv:1511.05641; as a kind of growth: Deng et al., "GrowCLIP",
        ICCV 2023, arXiv:2308.11331.

    Example:
        >>> from clplat.testing.tiny import tiny_backbone
        >>> Wider(units=4, towers="image").attach(tiny_backbone())[0]
        'model.visual.transformer.resblocks.0.mlp.changes.default.c_fc.weight'
    """

    mergeable = False

    def __init__(
        self,
        units: Annotated[int, Int(8, 512, log=True)] = 32,
        towers: Literal["both", "image", "text"] = "both",
    ) -> None:
        if units < 1:
            raise ValueError(f"units must be at least 1, not {units}")
        if towers not in ("both", "image", "text"):
            raise ValueError(f"towers is '{towers}'; allowed: both, image, text")
        self.units = units
        self.towers: Literal["both", "image", "text"] = towers

    def attach(self, backbone: Backbone, name: str = "default") -> list[str]:
        """Add units under ``name`` and use them; those attached before are frozen.

        Raises:
            UserError: the name is taken, adapters of another kind are attached, or a tower is opaque.
        """
        options = {"units": self.units, "towers": self.towers}
        return put(backbone, MoreUnits(self.units, self.towers).layers(backbone), name, "wider", options)
