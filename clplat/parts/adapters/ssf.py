"""SSF: the output of every operation of a tower is scaled and shifted, and merged into it after training."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from clplat.mechanisms.growth import Change, merge_grown
from clplat.models.backbone import Backbone
from clplat.parts.adapters._base import Adapter
from clplat.parts.adapters._blocks import blocks, which
from clplat.parts.adapters._growing import put

__all__ = ["SSF"]

_INSIDE = (
    *("ln_1", "attn.q_proj", "attn.k_proj", "attn.v_proj", "attn.out_proj"),
    *("ln_2", "mlp.c_fc", "mlp.c_proj"),
)


class SSF(Adapter):
    """Scaling and shifting features: ``s * o + t`` of the output o of every linear layer and norm.

    s is one and t zero at first, a number of each for each feature. Both go into the layer: its weight
    becomes ``s W`` and its bias ``s b + t``, so that a merged tower costs what it did.

    Args:
        towers: one tower or both.

    Raises:
        ValueError: another tower.

    What is trained: 22 numbers per unit of width in a block, and 2 behind its last one. The shift of keys
    changes no attention.

    Reference:
        Lian et al., "Scaling & Shifting Your Features: A New Baseline for Efficient Model Tuning", NeurIPS
        2022, arXiv:2210.08823.

    Example:
        >>> from clplat.testing.tiny import tiny_backbone
        >>> SSF(towers="image").attach(tiny_backbone())[0]
        'model.visual.transformer.resblocks.0.ln_1.changes.default.scale'
    """

    without_effect = (r"\.k_proj\.changes\.[^.]+\.shift$",)

    def __init__(self, towers: Literal["both", "image", "text"] = "both") -> None:
        if towers not in ("both", "image", "text"):
            raise ValueError(f"towers is '{towers}'; allowed: both, image, text")
        self.towers: Literal["both", "image", "text"] = towers

    def attach(self, backbone: Backbone, name: str = "default") -> list[str]:
        """Scale and shift under ``name``; those attached before are frozen.

        Raises:
            UserError: the name is taken, adapters of another kind are attached, or a tower is opaque.
        """
        layers: list[str] = []
        for tower in which(backbone, self.towers):
            held = blocks(backbone, tower)[0]
            layers += [f"{block}.{layer}" for block in held for layer in _INSIDE]
            top = held[0].partition("transformer.")[0]
            layers.append(f"{top}{'ln_post' if tower == 'image' else 'ln_final'}")
        return put(backbone, {layer: ScaleShift for layer in layers}, name, "ssf", {"towers": self.towers})

    def merge(self, backbone: Backbone) -> None:
        """Fold scales and shifts into the layers."""
        merge_grown(backbone)


class ScaleShift(Change):
    """``s * o + t`` of the output of a layer; none at first.

    Args:
        layer: linear or a norm, whose weight's first dimension is that of its output.

    Example:
        >>> change = ScaleShift(nn.Linear(3, 2))
        >>> change.after(torch.ones(1, 3), torch.full((1, 2), 5.0)).tolist()
        [[5.0, 5.0]]
    """

    of_weight = of_base = True

    def __init__(self, layer: Any) -> None:
        super().__init__()
        size = layer.weight.shape[0]
        self.scale, self.shift = nn.Parameter(torch.ones(size)), nn.Parameter(torch.zeros(size))

    def after(self, x: Tensor, out: Tensor, **more: Any) -> Tensor:
        """What becomes of the layer's output."""
        return out * self.scale.to(out.dtype) + self.shift.to(out.dtype)

    def deltas(self, layer: Any) -> dict[str, Tensor]:
        """``(s - 1) W`` and ``(s - 1) b + t``."""
        weight, bias = layer.weight.detach(), layer.bias.detach()
        more = self.scale.detach() - 1
        return {
            "weight": weight * more.view(-1, *[1] * (weight.dim() - 1)),
            "bias": bias * more + self.shift.detach(),
        }

    def fresh(self, layer: Any) -> ScaleShift:
        """Another one, which is none."""
        return ScaleShift(layer)
