"""CLIP-Adapter: a bottleneck behind the towers, mixed with what they give."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from clplat.config.space import Choice, Float
from clplat.models.backbone import Backbone
from clplat.models.features import ImageFeatures, TextFeatures
from clplat.models.readout import Readout
from clplat.models.stages import Tower
from clplat.parts.adapters._base import Adapter
from clplat.parts.adapters._readout import install, refuse_others

__all__ = ["ResidualBottleneck"]


class ResidualBottleneck(Adapter):
    """Two layers behind a frozen tower: ``(1 - ratio) x + ratio relu(U relu(D x))``, D to a quarter.

    It is a readout: the towers' features are computed once and kept, and a step computes two small layers.
    The layers are random at first, so that features are not quite those of the bare tower.

    Args:
        reduction: how many times narrower the hidden layer is.
        ratio: share of the bottleneck, in (0, 1].
        towers: behind which; pictures' alone, as in the public code.

    Raises:
        ValueError: a reduction below 1, a ratio outside (0, 1], or another tower.

    What is trained: ``2 D^2 / reduction`` weights a tower.

    Reference:
        Gao et al., "CLIP-Adapter: Better Vision-Language Models with Feature Adapters", IJCV 2024,
        arXiv:2110.04544.

    Example:
        >>> from clplat.testing.tiny import tiny_backbone
        >>> ResidualBottleneck().attach(tiny_backbone())
        ['readouts.default.image.layers.0.weight', 'readouts.default.image.layers.2.weight']
    """

    mergeable = False
    identity_at_init = False

    def __init__(
        self,
        reduction: Annotated[int, Choice(2, 4, 8)] = 4,
        ratio: Annotated[float, Float(0.05, 0.8)] = 0.2,
        towers: Literal["image", "text", "both"] = "image",
    ) -> None:
        if reduction < 1 or not 0 < ratio <= 1:
            raise ValueError(
                f"needs a reduction of at least 1 and a ratio in (0, 1], not {reduction} and {ratio}"
            )
        if towers not in ("image", "text", "both"):
            raise ValueError(f"towers is '{towers}'; allowed: image, text, both")
        self.reduction, self.ratio, self.towers = reduction, ratio, towers

    def attach(self, backbone: Backbone, name: str = "default") -> list[str]:
        """Install the bottlenecks under ``name``; those attached before are frozen.

        Raises:
            UserError: the name is taken, or adapters of another kind are attached.
        """
        refuse_others(backbone, "residual_bottleneck", name)
        sides: tuple[Tower, ...] = ("image", "text")
        made: dict[Tower, Readout] = {
            side: _Bottleneck(backbone.embed_dim, self.reduction, self.ratio)
            for side in sides
            if self.towers in ("both", side)
        }
        options = {"reduction": self.reduction, "ratio": self.ratio, "towers": self.towers}
        return install(backbone, "residual_bottleneck", name, made, options)


class _Bottleneck(Readout):
    """The bottleneck of one tower.

    Args:
        width: of the pooled feature; reduction, ratio: as of `ResidualBottleneck`.
    """

    def __init__(self, width: int, reduction: int, ratio: float) -> None:
        super().__init__()
        hidden = max(1, width // reduction)
        self.layers = nn.Sequential(
            nn.Linear(width, hidden, bias=False), nn.ReLU(), nn.Linear(hidden, width, bias=False), nn.ReLU()
        )
        self.ratio = ratio

    def forward(self, found: ImageFeatures | TextFeatures) -> Tensor:
        """A share of the bottleneck, the rest of the tower's own pooled feature (B, D)."""
        return torch.lerp(found.pooled, self.layers(found.pooled), self.ratio)
