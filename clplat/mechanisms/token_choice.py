"""Which parts of a picture to look at: patches that stand out, boxes, merged patches, tiles of scales."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, interpolate, normalize

__all__ = ["box_of_best", "merged_tokens", "outlying", "scales_in_one", "tiles", "trimmed"]


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


def box_of_best(tokens: Tensor, whole: Tensor, count: int) -> Tensor:
    """The box around the patches most like the whole picture: (top, left, bottom, right) in patches (B, 4).

    Bottom and right are behind the last row and column, so that a box holds all ``count`` patches.

    Args:
        tokens: (B, N, D) patches, N a square; whole: (B, D) the feature of the class token.
        count: patches that the box goes around; all where there are fewer.

    Reference:
        Rios et al., "Global-Local Similarity for Efficient Fine-Grained Image Recognition with Vision
        Transformers" (GLSim), 2024, arXiv:2407.12891, whose code cuts the last row and column off.
    """
    grid = math.isqrt(tokens.shape[1])
    cosines = torch.einsum("bnd,bd->bn", normalize(tokens, dim=2), normalize(whole, dim=1))
    best = cosines.topk(min(count, tokens.shape[1]), dim=1).indices
    rows, columns = best // grid, best % grid
    first = [side.amin(1) for side in (rows, columns)]
    return torch.stack([*first, *(side.amax(1) + 1 for side in (rows, columns))], 1)


def merged_tokens(tokens: Tensor, count: int) -> Tensor:
    """The patches of pictures (B, N, D) merged to ``count`` each, by what is most alike.

    In turns the even tokens join the odd ones that they are most alike to, the most alike first, and a
    merged token is the mean of all patches in it.

    Reference:
        Zhong et al., "AIM: Adaptive Inference of Multi-Modal LLMs via Token Merging and Pruning", ICCV 2025,
        arXiv:2412.03248; bipartite matching as in Bolya et al., "Token Merging", ICLR 2023, arXiv:2210.09461.
    """
    sizes = torch.ones(tokens.shape[:2], dtype=tokens.dtype, device=tokens.device)[..., None]
    while (held := tokens.shape[1]) > count:
        even, odd = tokens[:, 0::2], tokens[:, 1::2]
        best, which = (normalize(even, dim=2) @ normalize(odd, dim=2).mT).max(2)
        order, many = best.argsort(dim=1, descending=True, stable=True), min(odd.shape[1], held - count)
        gone, stays = order[:, :many], order[:, many:].sort(dim=1).values[..., None]
        goal, share = which.gather(1, gone)[..., None], sizes[:, 0::2]
        mass = sizes[:, 1::2].scatter_add(1, goal, share.gather(1, gone[..., None]))
        moved = (even * share).gather(1, gone[..., None].expand(-1, -1, even.shape[2]))
        total = (odd * sizes[:, 1::2]).scatter_add(1, goal.expand_as(moved), moved)
        tokens = torch.cat([even.gather(1, stays.expand(-1, -1, even.shape[2])), total / mass], 1)
        sizes = torch.cat([share.gather(1, stays), mass], 1)
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
