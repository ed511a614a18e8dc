"""Changes of a layer's weights that are no product added to them: factors, masks, biases, shared numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clplat.mechanisms.bits import pack, unpack
from clplat.mechanisms.growth import Change, Grown
from clplat.mechanisms.low_rank import LowRank, linear, with_gains
from clplat.randomness import generator

__all__ = ["Hashed", "Mask", "Modulation", "Rewritten", "Shift", "hashed"]


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


class Hashed(LowRank):
    """A low-rank change whose factors are read, piece by piece, from a vector that many layers share.

    Args:
        layer, rank, magnitude: as of `LowRank`.
        shared: pieces (M, C) of the vector.
        down, up: which pieces A and B are made of, by how much each is multiplied, and its gradient.
    """

    def __init__(
        self,
        layer: nn.Linear,
        rank: int,
        magnitude: float,
        shared: nn.Parameter,
        down: tuple[Tensor, Tensor, Tensor],
        up: tuple[Tensor, Tensor, Tensor],
    ) -> None:
        super().__init__(layer, rank, magnitude)
        self._shapes = {"down": list(self.down.shape), "up": list(self.up.shape)}
        del self.down, self.up
        self.shared = shared
        for factor, parts in (("down", down), ("up", up)):
            for part, tensor in zip(("rows", "scales", "gains"), parts, strict=True):
                self.register_buffer(f"{factor}_{part}", tensor, persistent=False)

    def factors(self) -> tuple[Tensor, Tensor]:
        return self._read("down"), self._read("up")

    def _read(self, factor: str) -> Tensor:
        rows, scales, gains = (getattr(self, f"{factor}_{part}") for part in ("rows", "scales", "gains"))
        pieces: Tensor = with_gains(self.shared[rows], gains[:, None]) * scales[:, None]
        shape = self._shapes[factor]
        return pieces.flatten()[: math.prod(shape)].view(shape)


def hashed(
    layers: Mapping[str, nn.Linear], rank: int, magnitude: float, size: int | None, piece: int
) -> dict[str, Callable[[Any], Hashed]]:
    """What makes the change of each layer, all from one vector of about ``size`` numbers.

    The factors of all layers are cut into pieces of ``piece`` numbers. The pieces of A share the first part
    of the vector, those of B, which is zero at first, the rest, in proportion. Pieces are dealt out in
    rounds, each a permutation of the part: all have the same number of users, give or take one, and where
    there are as many as users the map is one-to-one, so that this is LoRA. The permutations depend on the
    sizes alone.

    A piece begins at the geometric mean of what its users' layers begin with; each user multiplies it back to
    its own size by a factor s. Its gradient is multiplied by ``n / sum(s)^2``: in a step its n users move, in
    the mean, by the mean of their own gradients, whatever the vector's scale is.

    Args:
        layers: by name.
        rank, magnitude: of each change.
        size: numbers of the vector; None: as many as the factors have.
        piece: numbers that stay together.
    """
    kinds: dict[str, list[tuple[str, int, float]]] = {
        "down": [(path, rank * layer.in_features, layer.in_features**-0.5) for path, layer in layers.items()],
        "up": [(path, rank * layer.out_features, 1.0) for path, layer in layers.items()],
    }
    users = {kind: sum(-(-n // piece) for _, n, _ in each) for kind, each in kinds.items()}
    whole = sum(users.values())
    wanted = whole if size is None else max(2, size // piece)
    first = min(users["down"], max(1, round(wanted * users["down"] / whole)))
    held = {"down": first, "up": min(users["up"], max(1, wanted - first))}
    like = next(iter(layers.values())).weight
    shared = nn.Parameter(torch.zeros(sum(held.values()), piece).to(like))
    read: dict[str, dict[str, tuple[Tensor, Tensor, Tensor]]] = {}
    for kind, each in kinds.items():
        rows = _dealt(users[kind], held[kind], kind)
        bounds = torch.cat([torch.full((-(-n // piece),), bound) for _, n, bound in each])
        counts = torch.bincount(rows, minlength=held[kind])
        start = (torch.zeros(held[kind]).index_add(0, rows, bounds.log()) / counts).exp()
        scales = bounds / start[rows]
        gains = (counts / torch.zeros(held[kind]).index_add(0, rows, scales).square())[rows]
        if kind == "down":
            drawn = torch.rand(first, piece) * 2 - 1
            shared.data[:first] = (drawn * start[:, None]).to(like)
        places = [-(-n // piece) for _, n, _ in each]
        shifted = rows + (first if kind == "up" else 0)
        parts = [torch.split(t, places) for t in (shifted, scales, gains)]
        read[kind] = {path: (r, s, g) for (path, *_), r, s, g in zip(each, *parts, strict=True)}

    def make(path: str, layer: Any) -> Hashed:
        return Hashed(linear(path, layer), rank, magnitude, shared, read["down"][path], read["up"][path])

    return {path: partial(make, path) for path in layers}


def _dealt(users: int, held: int, purpose: str) -> Tensor:
    """The piece (users,) of each user, in rounds that are permutations of all pieces."""
    draw = generator(0, "hashed", purpose, users, held)
    rounds = [torch.randperm(held, generator=draw) for _ in range(-(-users // held))]
    return torch.cat(rounds)[:users]
