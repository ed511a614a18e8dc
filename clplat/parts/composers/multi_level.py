"""VAL: the text changes the picture at several depths of its tower, and each depth is matched on its own."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, relu

from clplat.config.space import Float
from clplat.errors import UserError
from clplat.mechanisms.attention import heads_fit
from clplat.mechanisms.contrast import cosines, semi_hard
from clplat.models.features import ImageFeatures, TextFeatures
from clplat.models.view import Towers
from clplat.parts.composers._around import Around
from clplat.parts.composers._base import Composer

__all__ = ["MultiLevel"]


class MultiLevel(Around):
    """Beside another composer's query, what the text makes of the picture at lower blocks of the image tower.

    At level i, X are the patches after a block, (N, W), t the text, and c their composition:

    * ``V = relu(A [x_n; t])`` for each patch;
    * joint attention ``J = sigmoid(C mean_n V) * sigmoid(S mean_w V)``, of channels and, by a convolution of
      7 x 7 patches, of places;
    * self-attention ``Z = O [softmax(K_h V_h (U_h V_h)' / sqrt(d)) Q_h V_h]`` in each head h;
    * ``c = mean_n (a J * X + b Z)``, a = 1 and b = 0 at first.

    ``q = F(r, t) + sum_i P_i c_i`` with F the inner composer, and to its candidates ``sum_i P_i mean_n X`` is
    added; the P are zero at first. The term ``levels`` matches c with the answer's ``mean_n X`` at each
    level, by `clplat.mechanisms.contrast.semi_hard`; the loss of the query itself is the task's.

    Args:
        inner: F.
        depths: where the levels are, in shares of the image tower's blocks.
        heads: of self-attention, at most.
        weight: of the term.
        margin: of its hinges.
        dropout: of self-attention, in training.

    Raises:
        ValueError: no depth, or one outside (0, 1]; a size, weight or margin below its least.

    What is trained: the levels, drawn by torch's generator in `attach`, and what of ``inner`` is. Features of
    blocks are not kept: each step runs the image tower.

    Reference:
        Chen, Gong and Bazzani, "Image Search with Text Feedback by Visiolinguistic Attention Learning", CVPR
        2020.

    Example:
        >>> from clplat.testing.tiny import tiny_backbone
        >>> composer = MultiLevel(depths=[0.5, 1.0])
        >>> composer.attach(Towers(tiny_backbone()))
        >>> composer.blocks
        (0, 1)
    """

    def __init__(
        self,
        inner: Composer | None = None,
        depths: Sequence[float] = (0.34, 0.67),
        heads: int = 2,
        weight: Annotated[float, Float(0.1, 10.0, log=True)] = 1.0,
        margin: Annotated[float, Float(0.05, 0.5)] = 0.2,
        dropout: float = 0.1,
    ) -> None:
        super().__init__(inner, image=frozenset({"hidden"}), text=frozenset({"pooled"}))
        if not depths or not all(0.0 < depth <= 1.0 for depth in depths):
            raise ValueError(f"depths must be shares of the tower in (0, 1], not {list(depths)}")
        if heads < 1 or not (0.0 <= weight < math.inf and 0.0 <= margin < math.inf and 0.0 <= dropout < 1.0):
            raise ValueError(
                f"needs heads >= 1, weight and margin >= 0 and dropout in [0, 1), "
                f"not {heads}, {weight}, {margin} and {dropout}"
            )
        self.depths, self.heads, self.dropout = tuple(depths), heads, dropout
        self.weight, self.margin = weight, margin
        self.target_wants = self.target_wants | {"hidden"}  # type: ignore[misc]
        more: Mapping[str, frozenset[str]] = self.inner.learns_from
        self.learns_from = {**more, "answer": more.get("answer", frozenset()) | {"hidden"}}  # type: ignore[misc]

    def attach(self, towers: Towers) -> None:
        """Attach the inner composer and draw the levels.

        Raises:
            UserError: an opaque image tower has no blocks.
        """
        super().attach(towers)
        if not towers.image_layers:
            raise UserError("multi_level needs blocks of the image tower, which this one does not show")
        self.blocks = tuple(max(1, round(depth * towers.image_layers)) - 1 for depth in self.depths)
        wide, heads = towers.image_tokens, heads_fit(towers.image_tokens, self.heads)
        self.levels = nn.ModuleList(_Level(wide, towers.joint, heads, self.dropout) for _ in self.blocks)
        self.out = nn.ModuleList(nn.Linear(wide, towers.joint, bias=False) for _ in self.blocks)
        for parameter in self.out.parameters():
            nn.init.zeros_(parameter)

    def forward(self, image: ImageFeatures, text: TextFeatures) -> Tensor:
        """Return (B, D), not normalised."""
        query: Tensor = self.inner(image, text)
        return query + self._mapped(self.composed(image, text))

    def target(self, image: ImageFeatures) -> Tensor:
        return self.inner.target(image) + self._mapped(self.plain(image))

    def composed(self, image: ImageFeatures, text: TextFeatures) -> list[Tensor]:
        """The c (B, W) of each level."""
        return [level(x, text.pooled) for level, x in zip(self.levels, self._patches(image), strict=True)]

    def plain(self, image: ImageFeatures) -> list[Tensor]:
        """What pictures are at each level, (B, W) each."""
        return [x.mean(1) for x in self._patches(image)]

    def _patches(self, image: ImageFeatures) -> list[Tensor]:
        return [image.hidden[block][:, 1:].float() for block in self.blocks]

    def _mapped(self, levels: list[Tensor]) -> Tensor:
        return torch.stack([layer(level) for layer, level in zip(self.out, levels, strict=True)]).sum(0)

    def terms(self, batch: Any, outputs: Any) -> dict[str, Tensor]:
        """``levels``, beside the inner composer's."""
        terms, seen = self.inner.terms(batch, outputs), outputs.triplets
        if seen is None or not self.weight:
            return terms
        made, found = self.composed(seen.reference, seen.text), self.plain(seen.answer)
        same = batch.positive.to(made[0].device)[seen.rows][:, seen.rows]
        costs = [semi_hard(cosines(c, x), same, self.margin) for c, x in zip(made, found, strict=True)]
        return terms | {"levels": self.weight * torch.stack(costs).sum()}


class _Level(nn.Module):
    """Patches (B, N, W) of a square grid and texts (B, D) -> what they become, (B, W)."""

    def __init__(self, wide: int, joint: int, heads: int, share: float) -> None:
        super().__init__()
        self.heads, self.share = heads, share
        self.both, self.channels = nn.Linear(wide + joint, wide), nn.Linear(wide, wide)
        self.places = nn.Conv2d(1, 1, 7, padding="same")
        self.asks, self.held, self.value = (
            nn.Parameter(torch.randn(heads, wide // heads, wide // heads) * (wide // heads) ** -0.5)
            for _ in range(3)
        )
        self.out = nn.Linear(wide, wide)
        self.weights = nn.Parameter(torch.tensor([1.0, 0.0]))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        seen = relu(self.both(torch.cat([x, t[:, None].expand(-1, x.shape[1], -1)], dim=-1)))
        channels = torch.sigmoid(self.channels(seen.mean(1, keepdim=True)))
        square = seen.mean(-1).view(len(x), 1, math.isqrt(x.shape[1]), -1)
        places = self.places(square).view(len(x), -1, 1)
        joint = channels * torch.sigmoid(places)
        split = seen.view(*seen.shape[:2], self.heads, -1).transpose(1, 2)
        asks, held, value = (split @ weights for weights in (self.asks, self.held, self.value))
        shares = (asks @ held.transpose(2, 3) / math.sqrt(split.shape[-1])).softmax(-1)
        read = dropout(shares, self.share, self.training) @ value
        own = self.out(read.transpose(1, 2).flatten(2))
        found: Tensor = (self.weights[0] * joint * x + self.weights[1] * own).mean(1)
        return found
