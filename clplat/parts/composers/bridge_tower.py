"""A small tower of both modalities beside the frozen ones, with bridges from their upper blocks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from clplat.config.space import Float, Int
from clplat.errors import UserError
from clplat.mechanisms.attention import CrossLayer
from clplat.models.features import ImageFeatures, TextFeatures
from clplat.models.view import Towers
from clplat.parts.composers._base import Composer

__all__ = ["BridgeTower"]


class BridgeTower(Composer):
    """Patches and words attend to each other in layers that are fed by the upper blocks of both towers.

    With V_l and T_l the outputs of the last k blocks, l = 1..k, each side by a linear map of its own, and
    Z_0 = 0: ``x = LN(Z^V_(l-1) + V_l)``, ``y = LN(Z^T_(l-1) + T_l)`` (the bridges), ``Z^V_l`` and ``Z^T_l``
    are x and y after self-attention, attention to the other and an MLP. Then
    ``q = n(r) + n(t) + W [Z^V_k at the class token, Z^T_k at the EOT]``, W zero at first: the sum.

    Args:
        layers: k.
        width: of the side tower.
        heads: of its attention, at most.
        dropout: in training.

    Raises:
        ValueError: a size below 1, a dropout outside [0, 1).

    What is trained: the side tower, drawn by torch's generator in `attach`; the gallery knows no query.

    Reference:
        Xu et al., "BridgeTower: Building Bridges Between Encoders in Vision-Language Representation
        Learning", AAAI 2023, arXiv:2206.08657.

    Example:
        >>> from clplat.testing.tiny import tiny_backbone
        >>> composer = BridgeTower(width=8, heads=2)
        >>> composer.attach(Towers(tiny_backbone()))
        >>> len(composer.shown), composer.out.weight.shape
        (2, torch.Size([24, 16]))
    """

    wants: ClassVar[Mapping[str, frozenset[str]]] = {
        "image": frozenset({"pooled", "hidden"}),
        "text": frozenset({"pooled", "hidden"}),
    }

    def __init__(
        self,
        layers: Annotated[int, Int(1, 6)] = 2,
        width: Annotated[int, Int(64, 1024, log=True)] = 128,
        heads: int = 4,
        dropout: Annotated[float, Float(0.0, 0.5)] = 0.1,
    ) -> None:
        super().__init__()
        if min(layers, width, heads) < 1 or not 0.0 <= dropout < 1.0:
            raise ValueError(
                f"needs layers, width and heads >= 1 and 0 <= dropout < 1, "
                f"not {layers}, {width}, {heads} and {dropout}"
            )
        self.layers, self.width, self.heads, self.dropout = layers, width, heads, dropout

    def attach(self, towers: Towers) -> None:
        """Draw the side tower.

        Raises:
            UserError: a tower with fewer blocks than there are layers.
        """
        least = min(towers.image_layers, towers.text_layers)
        if least < self.layers:
            raise UserError(f"layers is {self.layers}; the towers have {least} blocks that can be read")
        self.from_image = nn.Linear(towers.image_tokens, self.width)
        self.from_text = nn.Linear(towers.text_tokens, self.width)
        self.image_bridges, self.text_bridges = (
            nn.ModuleList(nn.LayerNorm(self.width) for _ in range(self.layers)) for _ in range(2)
        )
        self.shown, self.said = (
            nn.ModuleList(CrossLayer(self.width, self.heads, self.dropout) for _ in range(self.layers))
            for _ in range(2)
        )
        self.out = nn.Linear(2 * self.width, towers.joint)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, image: ImageFeatures, text: TextFeatures) -> Tensor:
        """Return (B, D), not normalised."""
        assert text.ends is not None
        pictures = [self.from_image(block.float()) for block in image.hidden[-self.layers :]]
        words = [self.from_text(block.float()) for block in text.hidden[-self.layers :]]
        absent = torch.arange(words[0].shape[1], device=text.ends.device) > text.ends[:, None]
        shown, said = torch.zeros_like(pictures[0]), torch.zeros_like(words[0])
        for i, (picture, word) in enumerate(zip(pictures, words, strict=True)):
            x = self.image_bridges[i](shown + picture)
            y = self.text_bridges[i](said + word)
            shown, said = self.shown[i](x, y, missing=absent), self.said[i](y, x, absent)
        ends = said[torch.arange(len(said), device=said.device), text.ends]
        found: Tensor = self.out(torch.cat([shown[:, 0], ends], dim=-1))
        return normalize(image.pooled, dim=-1) + normalize(text.pooled, dim=-1) + found
