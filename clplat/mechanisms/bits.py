"""Binary numbers in tensors: signs with a gradient, sums of signs, and bits eight to a byte."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

__all__ = ["nearest_sum", "pack", "sign_through", "signs_of", "sum_of", "unpack"]


def sign_through(x: Tensor) -> Tensor:
    """Signs, +1 or -1, with a straight-through gradient: 1 where ``|x| <= 1``, else 0.

    Reference:
        Bengio et al., "Estimating or Propagating Gradients Through Stochastic Neurons for Conditional
        Computation", arXiv:1308.3432; clipped as in Courbariaux et al., arXiv:1602.02830.

    Example:
        >>> sign_through(torch.tensor([-0.2, 0.0, 3.0]))
        tensor([-1.,  1.,  1.])
    """
    signs = torch.where(x >= 0, 1.0, -1.0).to(x.dtype)
    inside = x.clamp(-1, 1)
    return inside - inside.detach() + signs


def signs_of(x: Tensor, loops: int) -> Tensor:
    """Signs (N, loops, W), bool, of the sum ``s_0 + s_1 / 2 + s_2 / 4 + ...`` that is nearest to x (N, W).

    Exact for x that is such a sum: it falls apart in one way only.

    Example:
        >>> signs_of(torch.tensor([[0.5, -1.5]]), loops=2).int().tolist()
        [[[1, 0], [0, 0]]]
    """
    found, rest = [], x
    for t in range(loops):
        found.append(rest >= 0)
        rest = rest - torch.where(found[-1], 2.0**-t, -(2.0**-t)).to(x.dtype)
    return torch.stack(found, dim=1)


def sum_of(signs: Tensor) -> Tensor:
    """``s_0 + s_1 / 2 + s_2 / 4 + ...`` (N, W), float32, of signs (N, loops, W)."""
    shares = 2.0 ** -torch.arange(signs.shape[1], device=signs.device, dtype=torch.float32)
    return (torch.where(signs, 1.0, -1.0) * shares[:, None]).sum(dim=1)


def nearest_sum(x: Tensor, loops: int) -> Tensor:
    """The sum of signs nearest to x, exactly; the gradient is that of x.

    Example:
        >>> nearest_sum(torch.tensor([[0.4, -0.1, 7.0]]), loops=2)
        tensor([[ 0.5000, -0.5000,  1.5000]])
    """
    return x - x.detach() + sum_of(signs_of(x.detach(), loops)).to(x.dtype)


def pack(bits: Tensor) -> Tensor:
    """Bits (N, B), bool, as bytes (N, ceil(B / 8)), uint8, the first bit the lowest.

    Example:
        >>> pack(torch.tensor([[True, False, False, False, False, False, False, False, True]])).tolist()
        [[1, 1]]
    """
    bits = pad(bits.to(torch.uint8), (0, -bits.shape[1] % 8)).view(len(bits), -1, 8)
    places = torch.arange(8, device=bits.device, dtype=torch.uint8)
    return (bits << places).sum(dim=2, dtype=torch.uint8)


def unpack(packed: Tensor, count: int) -> Tensor:
    """The first ``count`` bits (N, count), bool, of what `pack` gave."""
    places = torch.arange(8, device=packed.device, dtype=torch.uint8)
    return ((packed[:, :, None] >> places) & 1).flatten(1)[:, :count].bool()
