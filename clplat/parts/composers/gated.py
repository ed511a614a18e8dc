"""A gated residual: one input or their sum passes a gate, and a network adds to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from clplat.config.space import Choice, Float
from clplat.mechanisms.gates import GatedResidual, network
from clplat.models.features import ImageFeatures, TextFeatures
from clplat.parts.composers._base import Composer

__all__ = ["Gated"]


class Gated(Composer):
    """``q = n(w_0 sigmoid(g(s)) b + w_1 h(s))``: what passes, b, what the gate sees, s, and a residual h.

    r and t enter as the towers give them; n = division by the L2 norm. The weights are trained.

    ============  ==========================================================================================
    TIRG          b = r, s = [r, t], w = (1, 10), batch norms, a gate of one layer and a residual of two
    ReGaDa        as TIRG with w = (1, 1), two layers each, leaky relus and dropout
    CLIPSeg       b = r, s = a t + (1 - a) r, linear maps, no sigmoid; a is drawn from [0, 1] in training
    ============  ==========================================================================================

    Args:
        base: b: the picture, the text, or the sum of both unit rows.
        sees: s: both side by side, or a mixture with the share ``mix`` of the text; in training the share is
            drawn for each query.
        gate: ``"sigmoid"``, or ``"linear"`` for FiLM's scale and shift.
        layers: of the gate and of the residual.
        norm: before the first layer of each.
        leaky: leaky relus, with dropout; otherwise relus, one of them behind the norm.
        dropout: in training.
        weights: w at first.
        mix: share of the text in a mixture, when searching.
        start: ``"base"`` zeroes the last layers: q = n(b) until the first step. ``"random"`` draws them too.

    Raises:
        ValueError: a layer or a weight too few, a number outside its range, another word.

    What is trained: all of it, drawn by torch's generator in `attach`.

    Reference:
        Vo et al., "Composing Text and Image for Image Retrieval - An Empirical Odyssey" (TIRG), CVPR 2019,
        arXiv:1812.07119; Hummel et al., "Video-adverb retrieval with compositional adverb-action embeddings"
        (ReGaDa), BMVC 2023, arXiv:2309.15086; Lueddecke and Ecker, "Image Segmentation Using Text and Image
        Prompts" (CLIPSeg), CVPR 2022, arXiv:2112.10003.

    Example:
        >>> composer = Gated()
        >>> composer.build(embed_dim=2)
        >>> composer(torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, 4.0]])).detach()
        tensor([[0.7071, 0.7071]])
    """

    def __init__(
        self,
        base: Annotated[Literal["image", "text", "sum"], Choice("image", "text", "sum")] = "sum",
        sees: Annotated[Literal["both", "mixture"], Choice("both", "mixture")] = "both",
        gate: Annotated[Literal["sigmoid", "linear"], Choice("sigmoid", "linear")] = "sigmoid",
        layers: Sequence[int] = (1, 2),
        norm: Annotated[Literal["none", "batch", "layer"], Choice("none", "batch", "layer")] = "layer",
        leaky: bool = False,
        dropout: Annotated[float, Float(0.0, 0.7)] = 0.1,
        weights: Sequence[float] = (1.0, 1.0),
        mix: Annotated[float, Float(0.0, 1.0)] = 0.5,
        start: Annotated[Literal["base", "random"], Choice("base", "random")] = "base",
    ) -> None:
        super().__init__()
        for name, word, allowed in (
            ("base", base, ("image", "text", "sum")),
            ("sees", sees, ("both", "mixture")),
            ("gate", gate, ("sigmoid", "linear")),
            ("norm", norm, ("none", "batch", "layer")),
            ("start", start, ("base", "random")),
        ):
            if word not in allowed:
                raise ValueError(f"{name} is '{word}'; allowed: {', '.join(allowed)}")
        if len(layers) != 2 or min(layers) < 1 or len(weights) != 2:
            raise ValueError(
                f"layers and weights are two numbers each, layers at least 1, not {layers} and {weights}"
            )
        if not (0.0 <= dropout < 1.0 and 0.0 <= mix <= 1.0):
            raise ValueError(f"needs 0 <= dropout < 1 and 0 <= mix <= 1, not {dropout} and {mix}")
        self.base, self.sees, self.gate, self.norm, self.leaky = base, sees, gate, norm, leaky
        self.layers, self.weights, self.start = tuple(layers), tuple(weights), start
        self.dropout, self.mix = dropout, mix

    def build(self, embed_dim: int) -> None:
        """Draw gate and residual for a joint space of ``embed_dim`` dimensions."""
        width = embed_dim * (2 if self.sees == "both" else 1)

        def made(layers: int) -> nn.Module:
            return network(width, embed_dim, layers, norm=self.norm, leaky=self.leaky, dropout=self.dropout)

        gate, residual = (made(layers) for layers in self.layers)
        opened = torch.sigmoid if self.gate == "sigmoid" else nn.Identity()
        self.block = GatedResidual(gate, residual, (self.weights[0], self.weights[1]), opened)
        if self.start == "base":
            self.block.close(0.0 if self.gate == "sigmoid" else 1.0)

    def forward(self, image: ImageFeatures, text: TextFeatures) -> Tensor:
        """Return (B, D) unit rows."""
        r, t = image.pooled, text.pooled
        bases = {
            "image": lambda: r,
            "text": lambda: t,
            "sum": lambda: normalize(r, dim=-1) + normalize(t, dim=-1),
        }
        seen = torch.cat([r, t], dim=-1) if self.sees == "both" else self._mixed(r, t)
        return normalize(self.block(bases[self.base](), seen), dim=-1)

    def _mixed(self, r: Tensor, t: Tensor) -> Tensor:
        share: Tensor | float = torch.rand(len(r), 1, device=r.device) if self.training else self.mix
        return share * t + (1.0 - share) * r
