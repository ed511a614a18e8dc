"""The forward pass of open_clip's vision transformers, see `clplat.models.towers`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from clplat.models.features import ImageFeatures
from clplat.models.towers import TowerPrompt, drop, first_vectors, insert, run_blocks

__all__ = ["image_bottom", "image_tower", "is_open_image_tower"]


def is_open_image_tower(visual: nn.Module) -> bool:
    """True for a vision transformer that `image_tower` can run."""
    from open_clip.transformer import VisionTransformer

    return (
        isinstance(visual, VisionTransformer)
        and visual.attn_pool is None
        and visual.pool_type in ("tok", "avg")
        and visual.transformer.batch_first
    )


def image_tower(
    visual: Any, x: Tensor, prompt: TowerPrompt | None, *, tokens: bool, hidden: bool, done: int = 0
) -> ImageFeatures:
    """Run a vision transformer on normalised pixels (B, 3, S, S), or on what ``done`` blocks gave."""
    length = 0
    if not done:
        x = _enter_image(visual, x)
    if prompt is not None:
        length = prompt.length
        x = insert(x, first_vectors(prompt))

    pooled_by_cls = visual.pool_type == "tok"
    select = (lambda t: t[:, :1]) if pooled_by_cls and not tokens and not hidden else None
    x, layers = run_blocks(visual.transformer, x, None, prompt, select, None, hidden, start=done)
    x = drop(x, length) if select is None else x
    if pooled_by_cls and not tokens:
        pooled = visual.ln_post(x[:, 0])
    elif visual.final_ln_after_pool:
        pooled = visual.ln_post(x[:, 0] if pooled_by_cls else x[:, 1:].mean(dim=1))
    else:
        x = visual.ln_post(x)
        pooled = x[:, 0] if pooled_by_cls else x[:, 1:].mean(dim=1)
    if visual.proj is not None:
        pooled = pooled @ visual.proj
    return ImageFeatures(
        pooled, x[:, 1:] if tokens else None, [drop(layer, length) for layer in layers] if hidden else []
    )


def image_bottom(visual: Any, pixels: Tensor, stop: int) -> Tensor:
    """The output (B, 1 + N, W) of the first ``stop`` blocks of a vision transformer without prompt."""
    x = _enter_image(visual, pixels)
    return run_blocks(visual.transformer, x, None, None, None, None, False, stop=stop)[0]


def _enter_image(visual: Any, pixels: Tensor) -> Tensor:
    patches = visual.conv1(pixels).flatten(2).transpose(1, 2)
    position = visual.positional_embedding.to(patches.dtype)
    first = (visual.class_embedding.to(patches.dtype) + position[0]).expand(len(patches), 1, -1)
    x = torch.cat([first, patches + position[1:]], dim=1)
    entered: Tensor = visual.ln_pre(visual.patch_dropout(x))
    return entered
