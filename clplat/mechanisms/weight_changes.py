"""Changes of a layer's weights that are no product added to them: factors, masks, biases."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clplat.mechanisms.bits import pack, unpack
from clplat.mechanisms.growth import Change, Grown

__all__ = ["Mask", "Modulation", "Rewritten", "Shift"]


class Rewrite(Change):
    """A change that makes another weight of the one that is there."""

    of_weight = of_base = True

    def of(self, weight: Tensor) -> Tensor:
        """What a weight (out, in) becomes."""
        raise NotImplementedError


class Rewritten(Grown):
    """A linear layer whose weight goes through the changes in use, one after the other."""

    def forward(self, x: Tensor, **more: Any) -> Tensor:
        if not self.used():
            bare: Tensor = self.base_layer(x)
            return bare
        bias: Any = self.base_layer.bias
        return F.linear(x, self._rewritten(), bias)

    def deltas(self) -> dict[str, Tensor]:
        return {"weight": self._rewritten() - self.weight} if self.used() else {}

    def _rewritten(self) -> Tensor:
        weight = self.weight
        for change in self.used():
            weight = change.of(weight)
        return weight


class Modulation(Rewrite):
    """``W * (A_o A_i^T) + B_o B_i^T``, the product with A element by element; W at first.

    The entries of A_o are ``1 / sqrt(rank)``, and so are those of A_i but for noise whose sum over the ranks
    is zero: their product is 1, and no two ranks have the same gradient. Equal ones would stay equal for
    ever. B_o is zero and B_i random: with both at zero neither would have a gradient.

    Args:
        layer: whose weight (out, in) is changed; nothing of it is kept.
        rank: of both products.

    Example:
        >>> layer = nn.Linear(3, 2)
        >>> torch.allclose(Modulation(layer, rank=2).of(layer.weight), layer.weight)
        True
    """

    def __init__(self, layer: nn.Linear, rank: int) -> None:
        super().__init__()
        like, even = layer.weight.detach(), 1 / math.sqrt(rank)
        noise = torch.randn(layer.in_features, rank) * 0.1 * even
        self.scale_out = nn.Parameter(like.new_full((layer.out_features, rank), even))
        self.scale_in = nn.Parameter((even + noise - noise.mean(1, keepdim=True)).to(like))
        self.shift_out = nn.Parameter(like.new_zeros(layer.out_features, rank))
        self.shift_in = nn.Parameter(like.new_empty(layer.in_features, rank))
        nn.init.kaiming_uniform_(self.shift_in, a=math.sqrt(5))

    def of(self, weight: Tensor) -> Tensor:
        return weight * (self.scale_out @ self.scale_in.T) + self.shift_out @ self.shift_in.T

    def fresh(self, layer: Any) -> Modulation:
        """Another of this rank, as it is when it begins."""
        return Modulation(layer, self.scale_out.shape[1])


class Mask(Rewrite):
    """``W * 1[start + s > threshold]``: weights are kept or left out; scores s are trained straight through.

    Scores are zero at first, so that weight decay draws them to where all is kept. Once it is closed there
    are none any more, and what it decided takes one bit for each weight.

    Args:
        layer: whose weight is masked; nothing of it is kept.
        threshold: of what is kept.
        start: above the threshold, so that nothing is left out at first.

    Attributes:
        bits: what is kept, eight weights to a byte, once it is closed.
        chosen: whose scores may move, likewise, while it is open.

    Example:
        >>> layer = nn.Linear(3, 1)
        >>> mask = Mask(layer)
        >>> mask.scores.data[0, 1] = -0.01
        >>> mask.close()
        >>> mask.kept().tolist(), mask.bits.shape, mask.scores
        ([[1.0, 0.0, 1.0]], torch.Size([1, 1]), None)
    """

    bits: Tensor
    chosen: Tensor | None

    def __init__(self, layer: nn.Linear, threshold: float = 5e-3, start: float = 1e-2) -> None:
        super().__init__()
        like = layer.weight.detach()
        self.threshold, self.start, self.width = threshold, start, layer.in_features
        self.scores: nn.Parameter | None = nn.Parameter(torch.zeros_like(like))
        every = pack(torch.ones_like(like, dtype=torch.bool))
        self.register_buffer("bits", every)
        self.register_buffer("chosen", every.clone())

    def of(self, weight: Tensor) -> Tensor:
        return weight * self.kept().to(weight.dtype)

    def kept(self) -> Tensor:
        """1 for what is kept and 0 for the rest (out, in); the gradient of those that may move is 1."""
        if self.scores is None:
            return unpack(self.bits, self.width).float()
        assert self.chosen is not None
        may = unpack(self.chosen, self.width)
        moving = (self.scores - self.scores.detach()) * may
        return self._above(self.scores).to(moving) + moving

    def choose(self, which: Tensor) -> None:
        """Let the scores of these weights (out, in), bool, move, and no others."""
        self.chosen = pack(which)

    def close(self) -> None:
        """Keep what was decided, and nothing else."""
        if self.scores is not None:
            self.bits = pack(self._above(self.scores))
        self.scores, self.chosen = None, None

    def _above(self, scores: Tensor) -> Tensor:
        return self.start + scores.detach() > self.threshold


class Shift(Change):
    """A change of a layer's bias, zero at first."""

    of_weight = True

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros_like(layer.bias.detach()))

    def forward(self, x: Tensor) -> Tensor:
        return self.bias

    def deltas(self, layer: Any) -> dict[str, Tensor]:
        return {"bias": self.bias}

    def fresh(self, layer: Any) -> Shift:
        """Another, as it is when it begins."""
        return Shift(layer)
