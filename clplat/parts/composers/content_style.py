"""CoSMo: the text changes the content of the picture's patches, then the style that all of them share."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn

from clplat.config.space import Int
from clplat.mechanisms.attention import heads_fit
from clplat.models.features import POOLED, ImageFeatures, TextFeatures
from clplat.models.view import Towers
from clplat.parts.composers._base import Composer

__all__ = ["ContentStyle"]


class ContentStyle(Composer):
    """Patches without their common style are changed by attention, and get a style that the text modulates.

    With X the patches in the joint space, m and s their mean and deviation, t the text:

    * content: ``Y = (X - m) / s``, then in each block ``Y <- Y + w (A V) W_r`` with ``V = [Y; t] W_m W_v``
      and, in each head, ``A = softmax(Y W_q (Y W_k)' / sqrt(d)) + softmax(Y (t W_t)' / sqrt(d))``, the second
      the same for all queries;
    * style: ``(sigmoid(t G_1) s + t F_1) * Y + sigmoid(t G_2) m + t F_2``, each with a bias, that of F_1 one
      at first; m and s pass no gradient here;
    * ``q``: the mean of the patches.

    Args:
        heads: of attention, at most.
        blocks: of content.

    Raises:
        ValueError: fewer than one.

    What is trained: all of it, drawn by torch's generator in `attach`.

    Reference:
        Lee, Kim and Han, "CoSMo: Content-Style Modulation for Image Retrieval with Text Feedback", CVPR 2021.

    Example:
        >>> from clplat.testing.tiny import tiny_backbone
        >>> composer = ContentStyle(heads=2)
        >>> composer.attach(Towers(tiny_backbone()))
        >>> len(composer.content), composer.style.weight.shape
        (2, torch.Size([48, 24]))
    """

    wants: ClassVar[Mapping[str, frozenset[str]]] = {"image": frozenset({"tokens"}), "text": POOLED}

    def __init__(self, heads: int = 8, blocks: Annotated[int, Int(1, 4)] = 2) -> None:
        super().__init__()
        if min(heads, blocks) < 1:
            raise ValueError(f"heads and blocks must be at least 1, not {heads} and {blocks}")
        self.heads, self.blocks = heads, blocks

    def attach(self, towers: Towers) -> None:
        """Draw the layers for the joint space."""
        self.towers, width = towers, towers.joint
        self.content = nn.ModuleList(
            _Content(width, heads_fit(width, self.heads)) for _ in range(self.blocks)
        )
        self.weights = nn.Parameter(torch.ones(self.blocks))
        self.style, self.gate = nn.Linear(width, 2 * width), nn.Linear(width, 2 * width)
        for layer in (self.style, self.gate):
            nn.init.normal_(layer.weight, std=math.sqrt(2.0 / width))
            nn.init.zeros_(layer.bias)
        nn.init.ones_(self.style.bias[:width])

    def forward(self, image: ImageFeatures, text: TextFeatures) -> Tensor:
        """Return (B, D), not normalised."""
        assert image.tokens is not None
        x, t = self.towers.joint_patches(image.tokens), text.pooled
        mean, variance = x.mean(1, keepdim=True), x.var(1, unbiased=False, keepdim=True)
        y = (x - mean) / (variance + 1e-5).sqrt()
        for weight, block in zip(self.weights, self.content, strict=True):
            y = y + weight * block(y, t)
        opened, shut = torch.sigmoid(self.gate(t))[:, None].chunk(2, dim=2)
        scale, shift = self.style(t)[:, None].chunk(2, dim=2)
        scale = opened * variance.detach().sqrt() + scale
        styled: Tensor = scale * y + shut * mean.detach() + shift
        return styled.mean(dim=1)


class _Content(nn.Module):
    """Attention among patches (B, N, D) and from a text (B, D) to all of them."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(width, width, bias=False) for _ in range(3))
        self.merge = nn.Linear(2 * width, width, bias=False)
        self.text, self.out = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, y: Tensor, t: Tensor) -> Tensor:
        def split(rows: Tensor) -> Tensor:
            return rows.view(*rows.shape[:-1], self.heads, -1).transpose(1, 2)

        values = split(self.value(self.merge(torch.cat([y, t[:, None].expand_as(y)], dim=-1))))
        root = math.sqrt(values.shape[-1])
        own = (split(self.query(y)) @ split(self.key(y)).transpose(2, 3) / root).softmax(-1)
        said = (split(y) @ split(self.text(t)[:, None]).transpose(2, 3) / root).softmax(2)
        found: Tensor = self.out(((own + said.transpose(2, 3)) @ values).transpose(1, 2).flatten(2))
        return found
