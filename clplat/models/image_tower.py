"""The forward pass of open_clip's vision transformers, see `clplat.models.towers`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from clplat.errors import UserError
from clplat.models.features import ImageFeatures
from clplat.models.prompt import TowerPrompt
from clplat.models.towers import drop, insert_first, run_blocks

__all__ = ["image_bottom", "image_tower", "is_open_image_tower", "normalised"]


def is_open_image_tower(visual: nn.Module) -> bool:
    """True for a vision transformer that `image_tower` can run."""
    from open_clip.transformer import VisionTransformer

    return (
        isinstance(visual, VisionTransformer)
        and visual.attn_pool is None
        and visual.pool_type in ("tok", "avg")
        and visual.transformer.batch_first
    )


def normalised(pixels: Tensor, size: int, name: str, scale: Tensor, shift: Tensor) -> Tensor:
    """Pixels (B, 3, S, S) as the tower of backbone ``name`` takes them; floats are taken as normalised.

    Raises:
        UserError: another size than S, or neither uint8 nor floats.
    """
    if pixels.dim() != 4 or tuple(pixels.shape[1:]) != (3, size, size):
        raise UserError(f"pixels are {tuple(pixels.shape)}, backbone '{name}' wants (B, 3, {size}, {size})")
    if pixels.dtype != torch.uint8 and not pixels.is_floating_point():
        raise UserError(f"pixels are {pixels.dtype}; uint8 or floats are allowed")
    if pixels.dtype == torch.uint8:
        return torch.addcmul(shift, pixels.to(scale.dtype), scale)
    return pixels.to(scale.dtype)


def image_tower(
    visual: Any, x: Tensor, prompt: TowerPrompt | None, wants: frozenset[str], done: int = 0
) -> ImageFeatures:
    """Run a vision transformer on normalised pixels (B, 3, S, S), or on what ``done`` blocks gave.

    Vectors enter at the prompt's lowest block, no lower than ``done``.
    """
    length = 0
    if not done:
        x = _enter_image(visual, x)
    pooled_by_cls = visual.pool_type == "tok"
    selected = pooled_by_cls and not wants & {"tokens", "hidden"}
    hidden: list[Tensor] = []
    states: list[Tensor] = []

    def collect(x: Tensor, alone: bool) -> None:
        if "hidden" in wants:
            hidden.append(drop(x, length))
        if "states" in wants:
            states.append(x[:, 0] if pooled_by_cls else drop(x, length)[:, 1:].mean(dim=1))

    first = (lambda t: t[:, :1]) if selected else None
    if prompt is not None:
        x = run_blocks(visual.transformer, x, None, collect=collect, start=done, stop=prompt.lowest)
        length, done, x = prompt.length, prompt.lowest, insert_first(x, prompt)
    x = run_blocks(visual.transformer, x, None, prompt, first, collect=collect, start=done)
    found = ImageFeatures(hidden=hidden, states=torch.stack(states, dim=1) if states else None)
    return _leave_image(visual, found, x if selected else drop(x, length), wants)


def _leave_image(visual: Any, found: ImageFeatures, x: Tensor, wants: frozenset[str]) -> ImageFeatures:
    """What is behind the blocks, of their output (B, 1 + N, W), or of its first row alone."""
    by_cls = visual.pool_type == "tok"
    if by_cls and "tokens" not in wants:
        pooled = visual.ln_post(x[:, 0])
    elif visual.final_ln_after_pool:
        pooled = visual.ln_post(x[:, 0] if by_cls else x[:, 1:].mean(dim=1))
    else:
        x = visual.ln_post(x)
        pooled = x[:, 0] if by_cls else x[:, 1:].mean(dim=1)
    if "pooled" in wants:
        found.pooled = pooled @ visual.proj if visual.proj is not None else pooled
    if "tokens" in wants:
        found.tokens = x[:, 1:]
    return found


def image_bottom(visual: Any, pixels: Tensor, stop: int) -> Tensor:
    """The output (B, 1 + N, W) of the first ``stop`` blocks of a vision transformer without prompt."""
    x = _enter_image(visual, pixels)
    return run_blocks(visual.transformer, x, None, stop=stop)


def _enter_image(visual: Any, pixels: Tensor) -> Tensor:
    patches = visual.conv1(pixels).flatten(2).transpose(1, 2)
    position = visual.positional_embedding.to(patches.dtype)
    first = (visual.class_embedding.to(patches.dtype) + position[0]).expand(len(patches), 1, -1)
    x = torch.cat([first, patches + position[1:]], dim=1)
    entered: Tensor = visual.ln_pre(visual.patch_dropout(x))
    return entered
