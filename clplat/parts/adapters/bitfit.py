"""BitFit: the biases."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from clplat.mechanisms.weight_changes import Shift
from clplat.models.backbone import Backbone
from clplat.parts.adapters._changes import Changes, Where, check_where
from clplat.parts.adapters._targets import in_last_blocks

__all__ = ["BitFit"]


class BitFit(Changes):
    """Trains all biases of a tower: of attention, of MLPs and of layer norms; nothing else.

    The change of each bias stands beside it, so that the base stays and one for each domain is possible.
    PEFT's `BEFT` has biases of linear layers alone, by default of all of them; what it leaves out, the layer
    norms, is where a tower's scale of features is set.

    Args:
        towers: one tower or both.
        last: only this many last blocks of each tower and what stands behind them; default all.

    Raises:
        ValueError: another tower.

    What is trained: 171,008 numbers of ViT-B/32, 0.1 %.

    Reference:
        Ben Zaken et al., "BitFit: Simple Parameter-efficient Fine-tuning for Transformer-based Masked
        Language-models", ACL 2022, arXiv:2106.10199.

    Example:
        >>> from clplat.testing.tiny import tiny_backbone
        >>> BitFit(towers="text", last=1).attach(tiny_backbone())[-1]
        'model.ln_final.changes.default.bias'
    """

    method = "bitfit"
    #: It adds the same number to a query's scores with all keys, and the softmax takes that away again.
    without_effect = (r"\.k_proj\.changes\..*bias$",)

    def __init__(self, towers: Where = "both", last: int | None = None) -> None:
        check_where(towers)
        self.towers: Where = towers
        self.last = last

    def makers(self, backbone: Backbone) -> Mapping[str, Callable[[Any], Shift]]:
        names = [key.removesuffix(".bias") for key in backbone.base_state() if key.endswith(".bias")]
        of_image = {name: name.startswith("visual.") for name in names}
        chosen = [n for n in names if self.towers == "both" or of_image[n] == (self.towers == "image")]
        return dict.fromkeys(chosen if self.last is None else in_last_blocks(chosen, self.last), Shift)
