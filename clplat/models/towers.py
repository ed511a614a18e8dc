"""The blocks of standard open_clip towers, with prompts and the outputs of every block.

open_clip's own forward gives pooled features only, always runs all text positions, and has no entry for
embeddings. A tower of another kind (ResNet, timm, Hugging Face, bidirectional text) is *opaque*: it goes
through open_clip's forward and offers nothing more.

A tower may also be run in two parts, split between blocks: ``stop`` gives the output of the first blocks, and
``done`` goes on from there. What is frozen at the bottom of a tower needs to be computed once only.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from clplat.errors import UserError
from clplat.models.attention import SplitAttention
from clplat.models.prompt import Prefix, TowerPrompt

__all__ = ["Collect", "blocks_of", "drop", "insert", "insert_first", "is_plain", "run_blocks"]

#: Called after every block with its output, and whether that is of the selected row alone.
Collect: TypeAlias = Callable[[Tensor, bool], None]


def run_blocks(
    transformer: Any,
    x: Tensor,
    mask: Tensor | None,
    prompt: TowerPrompt | None = None,
    select: Callable[[Tensor], Tensor] | None = None,
    masked: Tensor | None = None,
    collect: Collect | None = None,
    start: int = 0,
    stop: int | None = None,
) -> Tensor:
    """Run the blocks from ``start`` on. With ``select`` the last block computes that row only: (B, 1, W).

    Args:
        prompt: of which the lowest block's vectors are in ``x`` already.
    """
    blocks = blocks_of(transformer)
    last = len(blocks) - 1
    saving = transformer.grad_checkpointing and torch.is_grad_enabled()
    for i, block in enumerate(blocks[start:stop], start):
        replacement = prompt(i) if prompt is not None and i > prompt.lowest else None
        if replacement is not None:
            x = insert(drop(x, replacement.shape[-2]), replacement)
        prefix = prompt.prefix(i) if prompt is not None else None
        if i == last and select is not None:
            x = _last_block(block, x, mask, masked, prefix, select)
        else:
            run = _whole(block, mask, prefix)
            x = checkpoint(run, x, use_reentrant=False) if saving else run(x)
        if collect is not None:
            collect(x, i == last and select is not None)
    return x


def blocks_of(transformer: Any) -> list[Any]:
    """The blocks that a pass goes through: places of an adapter that is not in use are left out."""
    return [block for block in transformer.resblocks if not getattr(block, "idle", False)]


def _whole(block: Any, mask: Tensor | None, prefix: Prefix | None) -> Callable[[Tensor], Tensor]:
    """A block as a function of its input."""
    if prefix is None:
        return partial(block, attn_mask=mask)
    if not is_plain(block):
        raise UserError("a prefix of keys and values needs blocks of a standard CLIP tower, without hooks")
    return partial(_by_parts, block, mask=mask, prefix=prefix)


def _last_block(
    block: Any,
    x: Tensor,
    mask: Tensor | None,
    masked: Tensor | None,
    prefix: Prefix | None,
    select: Callable[[Tensor], Tensor],
) -> Tensor:
    if is_plain(block):
        return _by_parts(block, x, masked, prefix, select)
    return select(_whole(block, mask, prefix)(x))


def _by_parts(
    block: Any,
    x: Tensor,
    mask: Tensor | None,
    prefix: Prefix | None = None,
    select: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """One block, for one row of each sample where ``select`` picks one: the pooled feature reads no other.

    Only keys and values need all rows, so this saves five sixths of the last block, which is a fifth of a
    tower with four of them.
    """
    normed = block.ln_1(x)
    query = normed if select is None else select(normed)
    attended = block.attn(query, normed, normed, attn_mask=mask, prefix=prefix)[0]
    y = (x if select is None else select(x)) + block.ls_1(attended)
    out: Tensor = y + block.ls_2(block.mlp(block.ln_2(y)))
    return out


def is_plain(block: Any) -> bool:
    """Whether this is a stock block without hooks, whose parts may be called one by one."""
    return (
        type(block).__name__ == "ResidualAttentionBlock"
        and isinstance(getattr(block, "attn", None), SplitAttention)
        and not block._forward_hooks
        and not block._forward_pre_hooks
        and not block._backward_hooks
        and not block._backward_pre_hooks
    )


def insert_first(x: Tensor, prompt: TowerPrompt) -> Tensor:
    """Put what a prompt has for its lowest block after the first token of (B, L, W)."""
    vectors = prompt(prompt.lowest)
    assert vectors is not None or not prompt.length, "None at the lowest block of a prompt with prefixes only"
    return x if vectors is None else insert(x, vectors)


def insert(x: Tensor, vectors: Tensor) -> Tensor:
    """Put vectors, (P, W) or (B, P, W), after the first token of (B, L, W)."""
    return torch.cat([x[:, :1], vectors.to(x.dtype).expand(len(x), -1, -1), x[:, 1:]], dim=1)


def drop(x: Tensor, length: int) -> Tensor:
    """Take ``length`` prompt tokens out again."""
    return torch.cat([x[:, :1], x[:, 1 + length :]], dim=1) if length else x
