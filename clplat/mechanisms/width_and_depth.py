"""Growth of a transformer's blocks: more hidden units in an MLP, and a block behind a block."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from clplat.mechanisms.growth import Change, copied

__all__ = ["BlockBehind", "Units", "identity_copy"]


class Units(Change):
    """Hidden units that an MLP gains, ``C a(F h + b)``; none at first.

    Together they are one MLP, whose first layer has gained rows and whose second has gained columns. Each row
    of F and b is a copy of one that is there, so that new units begin with features that are of use; C is
    zero, so that the MLP stays what it was. Net2Net shares a unit's outgoing weight between it and its copy,
    which then have equal gradients; here they differ from the first step on.

    Args:
        mlp: of open_clip's blocks: a layer (hidden, width), an activation, a layer (width, hidden).
        count: of the units; which ones they copy is drawn from torch's generator.

    Reference:
        Chen et al., "Net2Net: Accelerating Learning via Knowledge Transfer", ICLR 2016, arXiv:1511.05641.

    Example:
        >>> mlp = nn.Sequential(nn.Linear(3, 4), nn.GELU(), nn.Linear(4, 3))
        >>> units = Units(mlp, count=2)
        >>> units.c_fc.weight.shape, int(units(torch.ones(1, 3)).count_nonzero())
        (torch.Size([2, 3]), 0)
    """

    def __init__(self, mlp: nn.Module, count: int) -> None:
        super().__init__()
        first, self.act, last = copied(mlp).children()
        assert isinstance(first, nn.Linear) and isinstance(last, nn.Linear)
        self.c_fc = nn.Linear(first.in_features, count).to(first.weight)
        self.c_proj = nn.Linear(count, last.out_features, bias=False).to(last.weight)
        rows = torch.randint(first.out_features, (count,))
        with torch.no_grad():
            self.c_fc.weight.copy_(first.weight[rows])
            self.c_fc.bias.copy_(first.bias[rows])
            self.c_proj.weight.zero_()

    def forward(self, h: Tensor) -> Tensor:
        """What is added to the MLP's output for its inputs (..., width)."""
        out: Tensor = self.c_proj(self.act(self.c_fc(h)))
        return out

    def fresh(self, layer: nn.Module) -> Units:
        """As many units as they begin."""
        return Units(layer, self.c_fc.out_features)


class BlockBehind(Change):
    """A block that a tower gains behind one of its own; none at first, see `identity_copy`.

    Args:
        block: one of open_clip's, behind which it stands.

    Example:
        >>> from clplat.testing.tiny import tiny_backbone
        >>> block = tiny_backbone().model.visual.transformer.resblocks[-1]
        >>> x = torch.ones(1, 5, 32)
        >>> bool((BlockBehind(block).after(x, block(x)) == block(x)).all())
        True
    """

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = identity_copy(block)

    def after(self, x: Tensor, out: Tensor, **more: Any) -> Tensor:
        behind: Tensor = self.block(out, **more)
        return behind

    def fresh(self, layer: nn.Module) -> BlockBehind:
        """Such a block as it begins."""
        return BlockBehind(layer)


def identity_copy(block: nn.Module) -> Any:
    """A copy of one of open_clip's blocks that hands its input on: what writes into the stream is zero.

    What these layers read is copied, so that their gradient is not zero.
    """
    made: Any = copied(block)
    for layer in (made.attn.out_proj, made.mlp.c_proj):
        for parameter in layer.parameters():
            nn.init.zeros_(parameter)
    return made
