"""BEBR: embeddings as sums of few binary vectors, stored as bits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated

from torch import Tensor, nn
from torch.nn.functional import normalize

from clplat.config.space import Choice, Int
from clplat.mechanisms.bits import sign_through
from clplat.models.view import Towers
from clplat.parts.heads._base import Head, Side, View
from clplat.parts.heads._views import Codes

__all__ = ["Bebr"]


class Bebr(Head):
    """Residual binarisation: ``b = b_0 + r_1 / 2 + r_2 / 4 + ...``, all of them vectors of signs.

        b_0 = sign(W_0 f),   r_t = sign(W_t (f - n(R_t b_{t-1}))),   b_t = b_{t-1} + 2^-t r_t

    with f the embedding at unit length, n = division by the L2 norm and W, R small perceptrons: each loop
    encodes what the code so far, decoded by R, leaves of f. Signs have a straight-through gradient. The
    towers may stay frozen; an item takes ``width * loops`` bits, and codes are compared by their cosine.

    With strategy `backward_compatible` new queries are contrasted with the *codes* of the model before, as
    the paper trains compatible versions that share one index.

    Args:
        width: numbers of a code.
        loops: binary vectors that are summed; bits an item are ``width * loops``.
        hidden: width of the hidden layer of each perceptron.

    Raises:
        ValueError: a width below 1, or loops outside 1..4.

    Reference:
        Gan et al., "Binary Embedding-based Retrieval at Tencent", KDD 2023, arXiv:2302.08714.

    Example:
        >>> import torch
        >>> from clplat.testing.tiny import tiny_backbone
        >>> head = Bebr(width=64, loops=2)
        >>> head.attach(Towers(tiny_backbone()))
        64
        >>> head.views()["codes"].store(head(torch.randn(3, 24), "gallery")).shape  # 128 bits
        torch.Size([3, 16])
    """

    starts_random = True

    def __init__(
        self,
        width: Annotated[int, Choice(32, 64, 128, 256, 512)] = 64,
        loops: Annotated[int, Int(1, 4)] = 2,
        hidden: Annotated[int, Choice(128, 256, 512)] = 256,
    ) -> None:
        super().__init__()
        if not (width >= 1 and 1 <= loops <= 4 and hidden >= 1):
            raise ValueError(
                f"width and hidden must be at least 1 and loops in 1..4, not {width}, {hidden} and {loops}"
            )
        self.width, self.loops, self.hidden = width, loops, hidden
        # A random code has about unit length: the mean of the squares of s_0 + s_1 / 2 + ... is sum 4^-t.
        self.unit = 1.0 / math.sqrt(width * sum(4.0**-t for t in range(loops)))

    def attach(self, towers: Towers) -> int:
        """Make the perceptrons, from torch's generator."""
        self.encode = nn.ModuleList(
            _perceptron(towers.joint, self.hidden, self.width) for _ in range(self.loops)
        )
        self.decode = nn.ModuleList(
            _perceptron(self.width, self.hidden, towers.joint) for _ in range(self.loops - 1)
        )
        return self.width

    def forward(self, x: Tensor, side: Side) -> Tensor:
        """Codes (B, width), times ``unit``."""
        x = normalize(x, dim=-1)
        code = sign_through(self.encode[0](x))
        for t in range(1, self.loops):
            rest = x - normalize(self.decode[t - 1](code), dim=-1)
            code = code + 2.0**-t * sign_through(self.encode[t](rest))
        return code * self.unit

    def views(self) -> Mapping[str, View]:
        return {"codes": Codes(self.width, self.loops, self.unit)}


def _perceptron(width: int, hidden: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.LayerNorm(hidden), nn.Linear(hidden, out))
