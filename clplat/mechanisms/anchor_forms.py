"""How a weight is drawn to an earlier one: by a spring, by its direction alone, or not beyond a distance."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

__all__ = ["cosine", "kept_within", "sprung", "turned"]


def sprung(weight: Tensor, springs: Iterable[tuple[Tensor, Tensor]]) -> None:
    """An implicit step of several springs, in place: ``w <- (w + sum_k s_k a_k) / (1 + sum_k s_k)``.

    Args:
        weight: moved in its leading block where anchors are of an earlier shape.
        springs: stiffness s times the step size, and anchor a, of one shape.

    Example:
        >>> weight, ones = torch.zeros(1), torch.ones(1)
        >>> sprung(weight, [(ones, 2 * ones), (ones, ones)])
        >>> weight
        tensor([1.])
    """
    (first, place), *others = springs
    own = weight[tuple(slice(size) for size in place.shape)]
    if not others:
        own.copy_(torch.addcdiv(place, own - place, 1 + first))
        return
    total, middle = torch.zeros_like(weight), torch.zeros_like(weight)
    for stiffness, anchor in ((first, place), *others):
        block = tuple(slice(size) for size in anchor.shape)
        total[block] += stiffness
        # The mean of anchors by stiffness, which may be too large for a product with them.
        middle[block] += (stiffness / total[block]).nan_to_num(0.0) * (anchor - middle[block])
    weight.copy_(torch.where(total > 0, torch.addcdiv(middle, weight - middle, 1 + total), weight))


def turned(weight: Tensor, anchor: Tensor, stiffness: float | Tensor) -> None:
    """An implicit step of ``stiffness (1 - cos(w, a))``, in place: w turns towards a, its length is free.

    ``w <- u u^T w`` with ``u = unit(unit(w) + stiffness / |w|^2 unit(a))``: at any stiffness no further than
    a, and for small steps at rest where the gradients of task and penalty cancel. A zero has no direction.

    Example:
        >>> weight = torch.tensor([0.0, 2.0])
        >>> turned(weight, torch.tensor([3.0, 0.0]), 1e9)
        >>> weight.abs().max() < 1e-6
        tensor(True)
    """
    own, other = weight.norm(), anchor.norm()
    unit = weight / own.clamp_min(1e-30)
    way = unit + stiffness / own.square().clamp_min(1e-30) * anchor / other.clamp_min(1e-30)
    way = way / way.norm().clamp_min(1e-30)
    weight.copy_(torch.where((own > 0) & (other > 0), (way * weight).sum() * way, weight))


def cosine(weight: Tensor, anchor: Tensor) -> Tensor:
    """Of two tensors as vectors; 1 where one of them is zero, which has no direction to lose."""
    lengths = weight.norm() * anchor.norm()
    found: Tensor = (weight * anchor).sum() / lengths.clamp_min(1e-30)
    return torch.where(lengths > 0, found, torch.ones_like(found))


def kept_within(weight: Tensor, anchor: Tensor, importance: Tensor, radius: float) -> None:
    """Back to ``sqrt(mean_i f_i (w_i - a_i)^2) <= radius``, in place, along the straight way to the anchor.

    With an even importance this is the nearest point that is allowed.

    Example:
        >>> weight = torch.tensor([3.0, 4.0])
        >>> kept_within(weight, torch.zeros(2), torch.ones(2), radius=0.5**0.5)
        >>> weight.round(decimals=3)
        tensor([0.6000, 0.8000])
    """
    apart = weight - anchor
    distance = (importance * apart.square()).mean().sqrt()
    weight.copy_(anchor + apart * (radius / distance.clamp_min(1e-30)).clamp_max(1.0))
