"""CLIP4Cir's Combiner: a learnt residual on a gated sum of picture and text."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from clplat.config.space import Float, Int
from clplat.errors import UserError
from clplat.models.features import ImageFeatures, TextFeatures
from clplat.parts.composers._base import Composer

__all__ = ["Combiner"]


class Combiner(Composer):
    """A gated sum of picture and text, plus what a small network makes of both.

    ``q = n(W_o h + l t + (1 - l) r)`` with ``c = [relu(W_t t), relu(W_r r)]``, ``h = relu(W_h c)``, the gate
    ``l = sigmoid(W_l relu(W_g c))`` and n = division by the L2 norm. r and t enter as the towers give them,
    *not* normalised: normalising them first changes the results.

    The published network is ``Combiner(2560, 5120, 0.5, "random")``: 4 and 8 times the width of RN50x4, 57.7
    million parameters at D = 512. The defaults are small (1.1 million at D = 512) and begin as the plain sum,
    so that row 0 of R is a meaningful zero-shot row.

    Args:
        projection: width of the projected text and of the projected picture.
        hidden: width of the two hidden layers.
        dropout: after every relu, in training.
        start: ``"sum"`` zeroes W_o and W_l, so that q = n(t / 2 + r / 2) until the first step. The layers
            behind them receive gradients from the second step on. ``"random"`` draws them like the others.

    Raises:
        ValueError: a width below 1, a dropout outside [0, 1), another start.

    What is trained: all layers. They are drawn by torch's generator, which the caller seeds, in `attach`.

    Reference:
        Baldrati et al., "Conditioned and composed image retrieval combining and partially fine-tuning
        CLIP-based features", CVPR Workshops 2022; extended in arXiv:2308.11485 (ACM TOMM 2023).

    Example:
        >>> composer = Combiner(projection=8, hidden=16)
        >>> composer.build(embed_dim=2)
        >>> image = ImageFeatures(pooled=torch.tensor([[3.0, 0.0]]))
        >>> text = TextFeatures(pooled=torch.tensor([[0.0, 4.0]]))
        >>> composer.eval()(image, text)
        tensor([[0.6000, 0.8000]], grad_fn=<DivBackward0>)
    """

    def __init__(
        self,
        projection: Annotated[int, Int(64, 4096, log=True)] = 256,
        hidden: Annotated[int, Int(128, 8192, log=True)] = 512,
        dropout: Annotated[float, Float(0.0, 0.7)] = 0.1,
        start: Literal["sum", "random"] = "sum",
    ) -> None:
        super().__init__()
        if start not in ("sum", "random"):
            raise ValueError(f"start must be 'sum' or 'random', not '{start}'")
        if min(projection, hidden) < 1 or not 0.0 <= dropout < 1.0:
            raise ValueError(
                f"needs projection >= 1, hidden >= 1 and 0 <= dropout < 1, "
                f"not {projection}, {hidden} and {dropout}"
            )
        self.projection = projection
        self.hidden = hidden
        self.dropout = nn.Dropout(dropout)
        self.start = start

    def build(self, embed_dim: int) -> None:
        """Draw the six layers for a joint space of ``embed_dim`` dimensions."""
        self.project_text = nn.Linear(embed_dim, self.projection)
        self.project_image = nn.Linear(embed_dim, self.projection)
        self.combine = nn.Linear(2 * self.projection, self.hidden)
        self.output = nn.Linear(self.hidden, embed_dim)
        self.gate_hidden = nn.Linear(2 * self.projection, self.hidden)
        self.gate_output = nn.Linear(self.hidden, 1)
        if self.start == "sum":
            for layer in (self.output, self.gate_output):
                nn.init.zeros_(layer.weight)
                nn.init.zeros_(layer.bias)

    def forward(self, image: ImageFeatures, text: TextFeatures) -> Tensor:
        """Return (B, D) unit rows.

        Raises:
            UserError: `attach` has not been called.
        """
        if not hasattr(self, "output"):
            raise UserError("the combiner has no layers yet: call attach(towers) or build(embed_dim) first")
        r, t = image.pooled, text.pooled
        both = torch.cat([self._act(self.project_text, t), self._act(self.project_image, r)], dim=-1)
        gate = torch.sigmoid(self.gate_output(self._act(self.gate_hidden, both)))
        residual = self.output(self._act(self.combine, both))
        return normalize(residual + gate * t + (1.0 - gate) * r, dim=-1)

    def _act(self, layer: nn.Linear, x: Tensor) -> Tensor:
        out: Tensor = self.dropout(torch.relu(layer(x)))
        return out
