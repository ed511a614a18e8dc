"""Random views of a batch of pictures, under which every caption stays true."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["Views", "random_views"]

Views = Literal["shift", "crop_flip"]


def random_views(pixels: Tensor, views: Views, size: int, draw: torch.Generator) -> Tensor:
    """A view (B, 3, size, size) of each picture, uint8.

    ``"shift"`` moves by up to three pixels and darkens or brightens. ``"crop_flip"`` cuts out 55 to 100 % of
    the area, its sides scaled by up to 4:5 or 5:4, flips every other picture left to right, and changes
    brightness and contrast by up to a tenth, which no colour word notices.

    Args:
        pixels: (B, 3, S, S) uint8, with S = ``size`` for ``"shift"``.
    """
    return _moved(pixels, draw) if views == "shift" else _cropped(pixels, size, draw)


def _moved(pixels: Tensor, draw: torch.Generator, most: int = 3) -> Tensor:
    padded = F.pad(pixels.float(), (most,) * 4, mode="replicate")
    size, moves = pixels.shape[-1], torch.randint(0, 2 * most + 1, (len(pixels), 2), generator=draw).tolist()
    moved = torch.stack(
        [picture[:, y : y + size, x : x + size] for picture, (y, x) in zip(padded, moves, strict=True)]
    )
    gain = 0.35 + 0.85 * torch.rand((len(pixels), 1, 1, 1), generator=draw)
    return (moved * gain).clamp(0, 255).to(torch.uint8)


def _cropped(pixels: Tensor, size: int, draw: torch.Generator) -> Tensor:
    area, ratio, left, top, flip, light, contrast = torch.rand(7, len(pixels), generator=draw)
    share, stretch = 0.55 + 0.45 * area, 1.25 ** (2 * ratio - 1)
    wide, high = (share * stretch).sqrt().clamp(max=1), (share / stretch).sqrt().clamp(max=1)
    across, down = (1 - wide) * (2 * left - 1), (1 - high) * (2 * top - 1)
    zero, mirror = torch.zeros(len(pixels)), torch.where(flip < 0.5, -1.0, 1.0)
    rows = (wide * mirror, zero, across), (zero, high, down)
    affine = torch.stack([torch.stack(row, 1) for row in rows], 1)
    grid = F.affine_grid(affine, [len(pixels), 3, size, size], align_corners=False)
    seen = F.grid_sample(pixels.float(), grid, padding_mode="border", align_corners=False)
    mean = seen.mean((1, 2, 3), keepdim=True)
    gain, lift = (part[:, None, None, None] for part in (0.9 + 0.2 * contrast, 25 * (light - 0.5)))
    lit: Tensor = (seen - mean) * gain + mean + lift
    return lit.clamp(0, 255).to(torch.uint8)
