"""The blocks of standard open_clip towers, with prompts and hidden layers.

open_clip's own forward gives pooled features only, always runs all text positions, and has no entry for
embeddings. A tower of another kind (ResNet, timm, Hugging Face, bidirectional text) is *opaque*: it goes
through open_clip's forward and offers nothing more.

A tower may also be run in two parts, split between blocks: ``stop`` gives the output of the first blocks, and
``done`` goes on from there. What is frozen at the bottom of a tower needs to be computed once only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from clplat.models.attention import SplitAttention

__all__ = ["TowerPrompt", "drop", "first_vectors", "insert", "run_blocks"]


class TowerPrompt(nn.Module):
    """Prompt vectors of one tower: P tokens after the first token (CLS or SOS).

    A backbone asks for ``prompt(layer)`` before every block: ``None`` keeps what the block before put out,
    a (P, W) tensor replaces the P prompt tokens. ``prompt(0)`` is never None.
    """

    length: int

    def forward(self, layer: int) -> Tensor | None:
        raise NotImplementedError


def run_blocks(
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
            x = insert(drop(x, len(replacement)), replacement)
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
    """Whether this is a stock block without hooks, whose parts may be called one by one."""
    return (
        type(block).__name__ == "ResidualAttentionBlock"
        and isinstance(getattr(block, "attn", None), SplitAttention)
        and not block._forward_hooks
        and not block._forward_pre_hooks
        and not block._backward_hooks
        and not block._backward_pre_hooks
    )


def first_vectors(prompt: TowerPrompt) -> Tensor:
    vectors: Tensor | None = prompt(0)
    assert vectors is not None, "prompt(0) is never None"
    return vectors


def insert(x: Tensor, vectors: Tensor) -> Tensor:
    """Put the (P, W) vectors after the first token of (B, L, W)."""
    return torch.cat([x[:, :1], vectors.to(x.dtype).expand(len(x), -1, -1), x[:, 1:]], dim=1)


def drop(x: Tensor, length: int) -> Tensor:
    """Take ``length`` prompt tokens out again."""
    return torch.cat([x[:, :1], x[:, 1 + length :]], dim=1) if length else x
