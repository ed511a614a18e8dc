"""Attention to a set: scores without weights, decoders that read a set, and transformers over one."""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, normalize

__all__ = ["CrossLayer", "Decoder", "cells", "encoder", "heads_fit", "weighted_mean"]


def weighted_mean(query: Tensor, members: Tensor, temperature: float) -> Tensor:
    """The mean (B, D) of the members (B, N, D) of a set, weighted by ``softmax_n(cos(query, member_n) / t)``.

    What is averaged are the members themselves, not their scores.

    Args:
        query: (B, D).
        temperature: t; infinite for the plain mean.

    Example:
        >>> import torch
        >>> members = torch.tensor([[[2.0, 0.0], [0.0, 4.0]]])
        >>> weighted_mean(torch.tensor([[0.0, 1.0]]), members, float("inf"))
        tensor([[1., 2.]])
    """
    cosines = (normalize(members, dim=-1) @ normalize(query, dim=-1)[..., None])[..., 0]
    return ((cosines / temperature).softmax(dim=1)[..., None] * members).sum(dim=1)


def cells(patches: Tensor, grid: int) -> Tensor:
    """Means (B, grid * grid, D) of the patches (B, N, D) of a square picture, cell by cell.

    A picture of fewer patches keeps each as it is.

    Example:
        >>> import torch
        >>> cells(torch.arange(16.0).view(1, 16, 1), 2)[0, :, 0]
        tensor([ 2.5000,  4.5000, 10.5000, 12.5000])
    """
    side = math.isqrt(patches.shape[1])
    if side <= grid:
        return patches
    square = patches[:, : side * side].transpose(1, 2).reshape(len(patches), -1, side, side)
    return adaptive_avg_pool2d(square, (grid, grid)).flatten(2).transpose(1, 2)


def heads_fit(width: int, heads: int) -> int:
    """The largest number of heads up to ``heads`` that divides a width.

    Example:
        >>> heads_fit(24, 8), heads_fit(30, 8)
        (8, 6)
    """
    return next(count for count in range(heads, 0, -1) if width % count == 0)


def encoder(width: int, depth: int, heads: int, dropout: float) -> nn.TransformerEncoder:
    """A transformer over sets (B, N, width), norms first; each layer is drawn by itself."""
    layer = nn.TransformerEncoderLayer(
        width, heads_fit(width, heads), 4 * width, dropout, "gelu", batch_first=True, norm_first=True
    )
    layers = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
    for parameter in layers.parameters():  # copies of one drawing otherwise
        if parameter.dim() > 1:
            nn.init.xavier_uniform_(parameter)
    return layers


class Decoder(nn.Module):
    """Queries (B, M, A) that read a set (B, N, S), and what becomes of them (B, M, A).

    Both are normed and brought to ``width``; every layer is self-attention of the queries, attention to the
    set, and an MLP, each with a norm before it and added to what it was given; a norm and a linear layer lead
    back.

    Args:
        asks: width A of the queries.
        holds: width S of the set's members.
        width: inside; heads: at most, of attention.
        depth: layers.
        dropout: in training.

    Reference:
        Rao et al., "DenseCLIP: Language-Guided Dense Prediction with Context-Aware Prompting", CVPR 2022.

    Example:
        >>> import torch
        >>> Decoder(6, 10, width=8, heads=2, depth=1)(torch.ones(3, 1, 6), torch.ones(3, 5, 10)).shape
        torch.Size([3, 1, 6])
    """

    def __init__(
        self, asks: int, holds: int, *, width: int, heads: int, depth: int, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.asked = nn.Sequential(nn.LayerNorm(asks), nn.Linear(asks, width))
        self.held = nn.Sequential(nn.LayerNorm(holds), nn.Linear(holds, width), nn.LayerNorm(width))
        self.layers = nn.ModuleList(CrossLayer(width, heads, dropout) for _ in range(depth))
        self.out = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, asks))

    def forward(
        self,
        queries: Tensor,
        members: Tensor,
        absent: Tensor | None = None,
        *,
        missing: Tensor | None = None,
    ) -> Tensor:
        """As above.

        Args:
            absent: (B, M), queries that are none, and that no other one sees; missing: (B, N), members that
                are none.
        """
        x, held = self.asked(queries), self.held(members)
        for layer in self.layers:
            x = layer(x, held, absent, missing)
        found: Tensor = self.out(x)
        return found


class CrossLayer(nn.Module):
    """Self-attention of queries, attention to a set and an MLP, each with a norm before it and added.

    Args:
        width: of queries and members.
        heads: of attention, at most.
        dropout: in training.
    """

    def __init__(self, width: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.own, self.other = (
            nn.MultiheadAttention(width, heads_fit(width, heads), dropout, batch_first=True) for _ in range(2)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Dropout(dropout), nn.Linear(4 * width, width)
        )

    def forward(
        self, x: Tensor, held: Tensor, absent: Tensor | None = None, missing: Tensor | None = None
    ) -> Tensor:
        """Queries (B, M, width) after reading members (B, N, width).

        Args:
            absent: (B, M), queries that are none; missing: (B, N), members that are none.
        """
        y = self.norms[0](x)
        x = x + self.own(y, y, y, key_padding_mask=absent, need_weights=False)[0]
        y = self.norms[1](x)
        x = x + self.other(y, held, held, key_padding_mask=missing, need_weights=False)[0]
        made: Tensor = x + self.mlp(self.norms[2](x))
        return made
