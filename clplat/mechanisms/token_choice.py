"""Which parts of a picture to look at: patches that stand out, windows, merged patches, tiles of scales."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, interpolate, normalize

__all__ = ["best_window", "merged_tokens", "outlying", "scales_in_one", "tiles", "trimmed"]


def outlying(similarity: Tensor, whiskers: float = 1.5) -> Tensor:
    """Which patches (B, N) stand out in similarity (B, N): above the third quartile by 1.5 times the box.

    The best patch is always among them. TRIM chooses by this rule how many tokens a text needs.
    """
    low, high = (torch.quantile(similarity, q, dim=1, keepdim=True) for q in (0.25, 0.75))
    best = similarity >= similarity.amax(1, keepdim=True)
    return best | (similarity > high + whiskers * (high - low))


def trimmed(tokens: Tensor, text: Tensor, whiskers: float = 1.5) -> tuple[Tensor, Tensor]:
    """Patches that a text is about, and the mean of the others in one; the rest of the places is zeros.

    Args:
        tokens: (B, N, D) patches in the joint space; text: (B, D).
        whiskers: see `outlying`.

    Returns:
        (B, K + 1, D), K the most that any picture keeps, and how many tokens each has, (B,).

    Reference:
        Song et al., "Less is More: A Simple yet Effective Token Reduction Method for Efficient Multi-modal
        LLMs" (TRIM), COLING 2025, arXiv:2409.10994.
    """
    cosines = torch.einsum("bnd,bd->bn", normalize(tokens, dim=2), normalize(text, dim=1))
    keeps = outlying(cosines, whiskers)
    counts = keeps.sum(1)
    order = keeps.int().argsort(dim=1, descending=True, stable=True)[:, : int(counts.max())]
    kept = tokens.gather(1, order[..., None].expand(-1, -1, tokens.shape[2]))
    kept = kept * keeps.gather(1, order)[..., None]
    rest = (tokens * ~keeps[..., None]).sum(1) / (~keeps).sum(1).clamp(min=1)[:, None]
    return torch.cat([kept, rest[:, None]], 1), counts + 1


def best_window(tokens: Tensor, whole: Tensor, side: int) -> Tensor:
    """The window of ``side x side`` patches most like the whole picture: its first row and column (B, 2).

    Args:
        tokens: (B, N, D) patches, N a square; whole: (B, D) the class token's feature.
        side: of the window, in patches.

    Reference:
        Rios et al., "Global-Local Similarity for Efficient Fine-Grained Image Recognition with Vision
        Transformers" (GLSim), 2024.
    """
    grid = math.isqrt(tokens.shape[1])
    cosines = torch.einsum("bnd,bd->bn", normalize(tokens, dim=2), normalize(whole, dim=1))
    windows = cosines.view(-1, grid, grid).unfold(1, side, 1).unfold(2, side, 1).mean((3, 4))
    best = windows.flatten(1).argmax(1)
    return torch.stack([best // windows.shape[2], best % windows.shape[2]], 1)


def merged_tokens(tokens: Tensor, count: int) -> Tensor:
    """The patches of a picture (N, D) merged to ``count``, by what is most alike.

    In turns the even tokens join the odd ones that they are most alike to, the most alike first, and a
    merged token is the mean of all patches in it.

    Reference:
        Zhong et al., "AIM: Adaptive Inference of Multi-Modal LLMs via Token Merging and Pruning", 2024;
        bipartite matching as in Bolya et al., "Token Merging", ICLR 2023, arXiv:2210.09461.
    """
    sizes = torch.ones(len(tokens), dtype=tokens.dtype)
    while len(tokens) > count:
        even, odd = tokens[0::2], tokens[1::2]
        best, which = (normalize(even, dim=1) @ normalize(odd, dim=1).T).max(1)
        gone = best.argsort(descending=True, stable=True)[: min(len(odd), len(tokens) - count)]
        mass = sizes[1::2].index_add(0, which[gone], sizes[0::2][gone])
        total = (odd * sizes[1::2, None]).index_add(0, which[gone], even[gone] * sizes[0::2][gone][:, None])
        stays = torch.ones(len(even), dtype=torch.bool).index_fill(0, gone, False)
        tokens = torch.cat([even[stays], total / mass[:, None]])
        sizes = torch.cat([sizes[0::2][stays], mass])
    return tokens


def tiles(pixels: Tensor, scale: int) -> Tensor:
    """Pictures (B, C, S, S) at ``scale`` times their size as tiles (scale^2 B, C, S, S), place by place."""
    if scale == 1:
        return pixels
    size = pixels.shape[2]
    large = interpolate(pixels, scale_factor=scale, mode="bicubic")
    cut = large.unfold(2, size, size).unfold(3, size, size)
    return cut.permute(2, 3, 0, 1, 4, 5).reshape(-1, *pixels.shape[1:])


def scales_in_one(tokens: list[Tensor]) -> Tensor:
    """Patches of several scales on the first one's grid, one behind the other: (B, N, D * scales).

    Args:
        tokens: of scale 1, 2, ...: patches (s^2 B, N, D) of the tiles, in the order of `tiles`.

    Reference:
        Shi et al., "When Do We Not Need Larger Vision Models?" (S2), ECCV 2024, arXiv:2403.13043.
    """
    count, width = tokens[0].shape[1:]
    grid, found = math.isqrt(count), []
    for scale, held in enumerate(tokens, start=1):
        maps = held.view(scale, scale, -1, grid, grid, width).permute(2, 5, 0, 3, 1, 4)
        whole = maps.reshape(maps.shape[0], width, scale * grid, scale * grid)
        found.append(adaptive_avg_pool2d(whole, grid).flatten(2).transpose(1, 2))
    return torch.cat(found, 2)
