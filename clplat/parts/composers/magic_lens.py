"""MagicLens: one transformer composes queries and candidates alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn

from clplat.config.space import Float, Int
from clplat.errors import UserError
from clplat.models.features import POOLED, ImageFeatures, TextFeatures
from clplat.models.view import Towers
from clplat.parts.composers._base import Composer

__all__ = ["MagicLens"]


class MagicLens(Composer):
    """A transformer over two tokens, picture and text, pooled by attention; a candidate is a picture with "".

    ``m(v, t) = pool(T([v; t]))``: T are ``depth`` transformer layers, pool is multi-head attention of one
    learnt query over their two outputs. The query is ``m(v, t)``, a candidate ``m(v, E_T(""))``: both sides
    go through the same layers, and the gallery knows no query.

    Args:
        depth: transformer layers.
        heads: of attention; the joint width must be a multiple.
        widen: width of the hidden layers, in joint widths.
        dropout: in the transformer, in training.

    Raises:
        ValueError: a depth, number of heads or width below 1, or a dropout outside [0, 1).

    What is trained: all layers, drawn by torch's generator in `attach`. The text tower embeds "" anew at
    every step, one text, so that adapters in it are followed.

    Reference:
        Zhang et al., "MagicLens: Self-Supervised Image Retrieval with Open-Ended Instructions", ICML 2024,
        arXiv:2403.19651.

    Example:
        >>> from clplat.testing.tiny import tiny_backbone
        >>> composer = MagicLens(depth=1, heads=4)
        >>> composer.attach(Towers(tiny_backbone()))
        >>> composer.eval().target(ImageFeatures(pooled=torch.ones(2, 24))).shape
        torch.Size([2, 24])
    """

    wants: ClassVar[Mapping[str, frozenset[str]]] = {"image": POOLED, "text": POOLED}

    def __init__(
        self,
        depth: Annotated[int, Int(1, 6)] = 4,
        heads: int = 8,
        widen: int = 4,
        dropout: Annotated[float, Float(0.0, 0.3)] = 0.1,
    ) -> None:
        super().__init__()
        if min(depth, heads, widen) < 1 or not 0.0 <= dropout < 1.0:
            raise ValueError(
                f"needs depth, heads and widen >= 1 and 0 <= dropout < 1, "
                f"not {depth}, {heads}, {widen} and {dropout}"
            )
        self.depth = depth
        self.heads = heads
        self.widen = widen
        self.dropout = dropout

    def attach(self, towers: Towers) -> None:
        """Draw the layers.

        Raises:
            UserError: the joint width is no multiple of the number of heads.
        """
        width = towers.joint
        if width % self.heads:
            raise UserError(f"heads is {self.heads}; the joint space is {width} wide, which is no multiple")
        self.towers = towers
        layer = nn.TransformerEncoderLayer(
            width, self.heads, self.widen * width, self.dropout, "gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, self.depth, enable_nested_tensor=False)
        for block in self.layers.layers:  # copies of one drawing otherwise
            for parameter in block.parameters():
                if parameter.dim() > 1:
                    nn.init.xavier_uniform_(parameter)
        self.pooling = nn.MultiheadAttention(width, self.heads, batch_first=True)
        self.seed = nn.Parameter(torch.empty(1, 1, width).normal_(std=width**-0.5))

    def forward(self, image: ImageFeatures, text: TextFeatures) -> Tensor:
        """Return (B, D), not normalised."""
        return self._composed(image.pooled, text.pooled)

    def target(self, image: ImageFeatures) -> Tensor:
        """The picture composed with an empty text (B, D)."""
        nothing = self.towers.text([""]).pooled
        return self._composed(image.pooled, nothing.expand(len(image.pooled), -1))

    def _composed(self, shown: Tensor, said: Tensor) -> Tensor:
        tokens = self.layers(torch.stack([shown, said], dim=1))
        seed = self.seed.expand(len(tokens), -1, -1)
        pooled: Tensor = self.pooling(seed, tokens, tokens, need_weights=False)[0][:, 0]
        return pooled
