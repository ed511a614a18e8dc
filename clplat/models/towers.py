"""The forward passes of standard open_clip towers, with prompts, token features and hidden layers.

open_clip's own forward gives pooled features only, always runs all text positions, and has no entry for
embeddings. A tower of another kind (ResNet, timm, Hugging Face, bidirectional text) is *opaque*: it goes
through open_clip's forward and offers nothing more.

A tower may also be run in two parts, split between blocks: ``stop`` gives the output of the first blocks, and
``done`` goes on from there. What is frozen at the bottom of a tower needs to be computed once only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from clplat.models.attention import SplitAttention
from clplat.models.features import ImageFeatures, TextFeatures

if TYPE_CHECKING:
    from clplat.parts.prompts._base import TowerPrompt

__all__ = [
    "image_bottom",
    "image_tower",
    "is_open_image_tower",
    "is_open_text_tower",
    "text_bottom",
    "text_ends",
    "text_tower",
]


def is_open_image_tower(visual: nn.Module) -> bool:
    """True for a vision transformer that `image_tower` can run."""
    from open_clip.transformer import VisionTransformer

    return (
        isinstance(visual, VisionTransformer)
        and visual.attn_pool is None
        and visual.pool_type in ("tok", "avg")
        and visual.transformer.batch_first
    )


def is_open_text_tower(text: nn.Module) -> bool:
    """True for a causal transformer pooled at its EOT token, which is what `text_tower` can run."""
    from open_clip import CLIP
    from open_clip.transformer import TextTransformer

    return (
        isinstance(text, CLIP | TextTransformer)
        and text.attn_mask is not None
        and getattr(text, "cls_emb", None) is None
        and _pool_type(text) in ("argmax", "eos")
        and text.transformer.batch_first
    )


def _pool_type(text: Any) -> str:
    return str(getattr(text, "text_pool_type", None) or text.pool_type)


def text_ends(text: Any, input_ids: Tensor) -> Tensor:
    """The place of the EOT token of every text, (B,)."""
    if _pool_type(text) == "eos":
        eos = getattr(text, "text_eos_id", None)
        found: Tensor = input_ids == (text.eos_id if eos is None else eos)
        return found.int().argmax(dim=-1)
    return input_ids.argmax(dim=-1)  # the EOT has the largest id of CLIP's vocabulary


def image_tower(
    visual: Any, x: Tensor, prompt: TowerPrompt | None, *, tokens: bool, hidden: bool, done: int = 0
) -> ImageFeatures:
    """Run a vision transformer on normalised pixels (B, 3, S, S), or on what ``done`` blocks gave."""
    length = 0
    if not done:
        x = _enter_image(visual, x)
    if prompt is not None:
        length = prompt.length
        x = _insert(x, _first(prompt))

    pooled_by_cls = visual.pool_type == "tok"
    select = (lambda t: t[:, :1]) if pooled_by_cls and not tokens and not hidden else None
    x, layers = _run(visual.transformer, x, None, prompt, select, None, hidden, start=done)
    x = _drop(x, length) if select is None else x
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
        pooled, x[:, 1:] if tokens else None, [_drop(layer, length) for layer in layers] if hidden else []
    )


def image_bottom(visual: Any, pixels: Tensor, stop: int) -> Tensor:
    """The output (B, 1 + N, W) of the first ``stop`` blocks of a vision transformer without prompt."""
    return _run(visual.transformer, _enter_image(visual, pixels), None, None, None, None, False, stop=stop)[0]


def _enter_image(visual: Any, pixels: Tensor) -> Tensor:
    patches = visual.conv1(pixels).flatten(2).transpose(1, 2)
    position = visual.positional_embedding.to(patches.dtype)
    first = (visual.class_embedding.to(patches.dtype) + position[0]).expand(len(patches), 1, -1)
    x = torch.cat([first, patches + position[1:]], dim=1)
    entered: Tensor = visual.ln_pre(visual.patch_dropout(x))
    return entered


def text_tower(
    text: Any,
    x: Tensor,
    ends: Tensor,
    prompt: TowerPrompt | None,
    *,
    tokens: bool,
    hidden: bool,
    length: int | None = None,
    done: int = 0,
) -> TextFeatures:
    """Run a causal text tower on embeddings (B, L, W) without positions, whose EOT stands at ``ends`` (B,).

    Nothing after the EOT can influence it, so the batch is cut at its longest text, or at ``length`` where
    the caller knows it: reading ``ends`` makes a GPU wait. A prompt takes its places from the texts: what
    then exceeds the context loses its last words, never its EOT. With ``done`` the input is what the first
    blocks gave.
    """
    x, inserted = x[:, : length if length is not None else int(ends.max()) + 1], 0
    if prompt is not None:
        inserted = prompt.length
        x, ends = _shorten(x, ends, len(text.positional_embedding) - inserted)
        x = _insert(x, _first(prompt))
    n = x.shape[1]
    if not done:
        x = x + text.positional_embedding[:n].to(x.dtype)

    rows = torch.arange(len(x), device=x.device)
    places = ends + inserted
    select = masked = None
    if not tokens and not hidden:
        masked = (torch.arange(n, device=x.device) > places[:, None])[:, None, None]

        def select(t: Tensor) -> Tensor:
            return t[rows, places].unsqueeze(1)

    mask = text.attn_mask[:n, :n].to(x.dtype)
    x, layers = _run(text.transformer, x, mask, prompt, select, masked, hidden, start=done)
    if tokens:
        x = text.ln_final(x)
        pooled = x[rows, places]
    else:
        pooled = text.ln_final(x[:, 0] if select is not None else x[rows, places])
    projection = text.text_projection
    if projection is not None:
        pooled = projection(pooled) if isinstance(projection, nn.Module) else pooled @ projection
    return TextFeatures(
        pooled,
        _drop(x, inserted) if tokens else None,
        [_drop(layer, inserted) for layer in layers] if hidden else [],
        ends,
    )


def text_bottom(text: Any, embeddings: Tensor, stop: int) -> Tensor:
    """The output (B, L, W) of the first ``stop`` blocks of a causal text tower without prompt."""
    n = embeddings.shape[1]
    x = embeddings + text.positional_embedding[:n].to(embeddings.dtype)
    mask = text.attn_mask[:n, :n].to(x.dtype)
    return _run(text.transformer, x, mask, None, None, None, False, stop=stop)[0]


def _run(
    transformer: Any,
    x: Tensor,
    mask: Tensor | None,
    prompt: TowerPrompt | None,
    select: Callable[[Tensor], Tensor] | None,
    masked: Tensor | None,
    hidden: bool,
    start: int = 0,
    stop: int | None = None,
) -> tuple[Tensor, list[Tensor]]:
    """Run the blocks from ``start`` on. With ``select`` the last block computes that row only: (B, 1, W)."""
    layers: list[Tensor] = []
    last = len(transformer.resblocks) - 1
    for i, block in enumerate(list(transformer.resblocks)[start:stop], start):
        replacement = prompt(i) if prompt is not None and i > 0 else None
        if replacement is not None:
            x = _insert(_drop(x, len(replacement)), replacement)
        if i == last and select is not None:
            x = _selected(block, x, select, masked) if _is_plain(block) else select(block(x, attn_mask=mask))
        elif transformer.grad_checkpointing and torch.is_grad_enabled():
            x = checkpoint(block, x, None, None, mask, use_reentrant=False)
        else:
            x = block(x, attn_mask=mask)
        if hidden:
            layers.append(x)
    return x, layers


def _selected(block: Any, x: Tensor, select: Callable[[Tensor], Tensor], masked: Tensor | None) -> Tensor:
    """One block, for one row of each sample: the pooled feature reads no other row of the last block.

    Only keys and values need all rows, so this saves five sixths of the block, which is a fifth of a
    tower with four of them.
    """
    normed = block.ln_1(x)
    attended = block.attn(select(normed), normed, normed, attn_mask=masked)[0]
    y = select(x) + block.ls_1(attended)
    out: Tensor = y + block.ls_2(block.mlp(block.ln_2(y)))
    return out


def _is_plain(block: nn.Module) -> bool:
    """A stock block that nobody watches: its parts may be called one by one."""
    return (
        type(block).__name__ == "ResidualAttentionBlock"
        and isinstance(getattr(block, "attn", None), SplitAttention)
        and not block._forward_hooks
        and not block._forward_pre_hooks
        and not block._backward_hooks
        and not block._backward_pre_hooks
    )


def _first(prompt: TowerPrompt) -> Tensor:
    vectors: Tensor | None = prompt(0)
    assert vectors is not None, "prompt(0) is never None"
    return vectors


def _insert(x: Tensor, vectors: Tensor) -> Tensor:
    """Put the (P, W) vectors after the first token of (B, L, W)."""
    return torch.cat([x[:, :1], vectors.to(x.dtype).expand(len(x), -1, -1), x[:, 1:]], dim=1)


def _drop(x: Tensor, length: int) -> Tensor:
    """Take ``length`` prompt tokens out again."""
    return torch.cat([x[:, :1], x[:, 1 + length :]], dim=1) if length else x


def _shorten(embeddings: Tensor, ends: Tensor, room: int) -> tuple[Tensor, Tensor]:
    """Cut texts to ``room`` places; the EOT moves to the last one."""
    if embeddings.shape[1] <= room:
        return embeddings, ends
    new = ends.clamp(max=room - 1)
    places = torch.arange(room, device=ends.device).expand(len(ends), -1)
    places = torch.where(places == new[:, None], ends[:, None], places)
    return embeddings.gather(1, places[..., None].expand(-1, -1, embeddings.shape[2])), new
