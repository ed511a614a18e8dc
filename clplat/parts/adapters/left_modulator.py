"""LeFT: a weight is multiplied by a low-rank matrix, element by element, and another is added."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Any

from clplat.config.space import Int
from clplat.mechanisms.weight_changes import Modulation, Rewritten
from clplat.models.backbone import Backbone
from clplat.parts.adapters._changes import Changes, Targets, Where, check_where, linear_layers

__all__ = ["LeftModulator"]


class LeftModulator(Changes):
    """LFS-GAN's modulator: ``W' = W * (A_o A_i^T) + B_o B_i^T``, the first product element by element.

    What the pretrained weight is small in stays small under the first factor: it scales what is there; the
    second adds what is not. All four factors are trained, for each layer; the base is frozen, so that one of
    them for each domain, under any router, forgets nothing (``--strategy routed_experts``).

    Args:
        r: rank of both products.
        targets: layers that are changed: a kind, or names of modules.
        towers: one tower or both.
        last: only this many last blocks of each tower; default all.

    Raises:
        ValueError: a rank below 1, another tower.

    What is trained: ``2 r (in + out)`` numbers for a layer, twice a LoRA's.

    Reference:
        Seo et al., "LFS-GAN: Lifelong Few-Shot Image Generation", ICCV 2023, arXiv:2308.11917.

    Example:
        >>> from clplat.testing.tiny import tiny_backbone
        >>> LeftModulator(r=2, targets=["q_proj"], last=1).attach(tiny_backbone())[0]
        'model.visual.transformer.resblocks.1.attn.q_proj.changes.default.scale_out'
    """

    method = "left_modulator"
    place = Rewritten

    def __init__(
        self,
        r: Annotated[int, Int(1, 16, log=True)] = 4,
        targets: Targets = "both",
        towers: Where = "both",
        last: int | None = None,
    ) -> None:
        if r < 1:
            raise ValueError(f"r must be at least 1, not {r}")
        check_where(towers)
        self.r, self.targets, self.towers, self.last = r, targets, towers, last

    def makers(self, backbone: Backbone) -> Mapping[str, Callable[[Any], Modulation]]:
        layers = linear_layers(backbone, self.targets, self.towers, self.last, self.r)
        return dict.fromkeys(layers, partial(Modulation, rank=self.r))
