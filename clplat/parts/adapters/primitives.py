"""CoT: an object expert on the last layer, and an attribute expert that it guides to earlier ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn

from clplat.config.space import Choice, Int
from clplat.models.backbone import Backbone
from clplat.models.features import ImageFeatures, TextFeatures
from clplat.models.readout import Readout
from clplat.parts.adapters._base import Adapter
from clplat.parts.adapters._readout import install, refuse_others, states_of

__all__ = ["Primitives"]


class Primitives(Adapter):
    """``pooled + U relu(P [o; a])``: an object o from the top of the image tower, an attribute a from below.

    o = W x_L is of the class token after the last block. At each level l below it, from the upper to the
    lower ones, X are rows of a layer and x their mean:

    * channels: ``Y = X * sigmoid(M_l [o; x])``, M_l an MLP;
    * places: ``X' = X + Y * sigmoid(K_l [mean_w o; mean_w Y])`` in each place, K_l a convolution of 3 x 3.

    ``a = A [mean X'_l, ...]`` of all levels. With ``reads="states"`` a layer's row is its class token, which
    is kept; with ``patches`` X are the patches, and each step runs the frozen tower. U is zero at first.

    Args:
        rank: width of o and a.
        depths: where the levels are, in shares of the tower's blocks.
        reads: what of a layer.

    Raises:
        ValueError: a rank below 1, no depth, or one outside (0, 1), another word.

    What is trained: about ``levels * width * (width + 3 * rank) / 4`` weights. Needs: CLIP's ViT.

    Reference:
        Kim et al., "Hierarchical Visual Primitive Experts for Compositional Zero-Shot Learning", ICCV 2023,
        arXiv:2308.04016.

    Example:
        >>> from clplat.testing.tiny import tiny_backbone
        >>> Primitives(rank=4).attach(tiny_backbone())[0]
        'readouts.default.image.object.weight'
    """

    mergeable = False

    def __init__(
        self,
        rank: Annotated[int, Int(4, 512, log=True)] = 64,
        depths: Sequence[float] = (0.75, 0.5, 0.25),
        reads: Annotated[Literal["states", "patches"], Choice("states", "patches")] = "states",
    ) -> None:
        if rank < 1:
            raise ValueError(f"rank must be at least 1, not {rank}")
        if not depths or not all(0.0 < depth < 1.0 for depth in depths):
            raise ValueError(f"depths must be shares of the tower in (0, 1), not {list(depths)}")
        if reads not in ("states", "patches"):
            raise ValueError(f"reads is '{reads}'; allowed: states, patches")
        self.rank, self.depths, self.reads = rank, list(depths), reads

    def attach(self, backbone: Backbone, name: str = "default") -> list[str]:
        """Install the experts under ``name``; those attached before are frozen.

        Raises:
            UserError: the name is taken, adapters of another kind are attached, or an opaque image tower.
        """
        refuse_others(backbone, "primitives", name)
        layers, wide = states_of(backbone, "image")["image"]
        ranks = (min(layers - 1, round(depth * layers)) for depth in self.depths)
        levels = [*dict.fromkeys(max(0, rank - 1) for rank in ranks)]
        network = _Experts(levels, wide, self.rank, backbone.embed_dim, self.reads == "patches")
        return install(backbone, "primitives", name, {"image": network}, dict(vars(self)))


class _Experts(Readout):
    """Both experts of an image tower.

    Args:
        levels: layers below the last; wide: width of their rows; rank: of the experts; joint: of the pooled
            feature; patches: read those, not the class tokens.
    """

    def __init__(self, levels: list[int], wide: int, rank: int, joint: int, patches: bool) -> None:
        super().__init__()
        self.levels, self.patches = levels, patches
        self.wants = frozenset({"pooled", "states", *(["hidden"] if patches else [])})  # type: ignore[misc]
        self.object = nn.Linear(wide, rank)
        inside = rank + wide // 16
        self.channels = nn.ModuleList(
            nn.Sequential(nn.Linear(rank + wide, inside), nn.ReLU(), nn.Linear(inside, wide)) for _ in levels
        )
        # Of one row, all weights but the middle one would meet nothing but padding.
        self.places = nn.ModuleList(nn.Conv2d(2, 1, 3 if patches else 1, padding="same") for _ in levels)
        self.attribute = nn.Linear(len(levels) * wide, rank)
        self.both = nn.Linear(2 * rank, rank)
        self.up = nn.Linear(rank, joint)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, found: ImageFeatures | TextFeatures) -> Tensor:
        """The tower's own pooled feature (B, D), and what both experts add to it."""
        states: Any = found.states
        known = self.object(states[:, -1])
        means = []
        for i, level in enumerate(self.levels):
            rows = found.hidden[level][:, 1:] if self.patches else states[:, level : level + 1]
            means.append(self.guided(i, known, rows).mean(dim=1))
        seen = self.attribute(torch.cat(means, dim=-1))
        out: Tensor = found.pooled + self.up(torch.relu(self.both(torch.cat([known, seen], dim=-1))))
        return out

    def guided(self, i: int, known: Tensor, rows: Tensor) -> Tensor:
        """The X' (B, N, W) of rows X of a square grid, by the object (B, rank)."""
        scale = self.channels[i](torch.cat([known, rows.mean(dim=1)], dim=-1)).sigmoid()
        told = rows * scale[:, None]
        side = round(rows.shape[1] ** 0.5)
        maps = torch.stack([known.mean(dim=-1)[:, None].expand(-1, rows.shape[1]), told.mean(dim=-1)], dim=1)
        places = self.places[i](maps.view(len(rows), 2, side, side)).flatten(1).sigmoid()
        made: Tensor = rows + told * places[..., None]
        return made
