"""Low-rank changes of many layers whose factors are read from one vector."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from clplat.mechanisms.low_rank import LowRank, linear, with_gains
from clplat.randomness import generator

__all__ = ["Hashed", "hashed"]


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
