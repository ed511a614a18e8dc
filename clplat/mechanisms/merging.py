"""Merging of models in weight space: task vectors, their sum, and TIES; on dicts of tensors by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeAlias

import torch
from torch import Tensor

from clplat.errors import UserError

__all__ = ["Merges", "Weights", "added", "task_vector", "ties", "total", "trimmed"]

#: Tensors by name, as `clplat.mechanisms.weight_space.weights_of` reads them.
Weights: TypeAlias = Mapping[str, Tensor]


class Merges(Protocol):
    """A strategy that can also merge the versions of a finished run, see `clplat.runs.derive`."""

    def merge(self, points: Sequence[Weights]) -> dict[str, Tensor]:
        """New weights from those before the stream and after each of its domains so far."""


def task_vector(start: Weights, end: Weights) -> dict[str, Tensor]:
    """``end - start`` of every tensor of floats; counters are no weights.

    Raises:
        UserError: the two are not of one structure: a name is missing, or a shape is another.

    Example:
        >>> task_vector({"w": torch.ones(2)}, {"w": torch.tensor([1.0, 3.0])})
        {'w': tensor([0., 2.])}
    """
    for name in start.keys() | end.keys():
        if name not in start or name not in end or start[name].shape != end[name].shape:
            raise UserError(f"only models of one structure can be merged, and they differ in '{name}'")
    return {name: end[name] - tensor for name, tensor in start.items() if tensor.is_floating_point()}


def added(base: Weights, vector: Weights, weight: float) -> dict[str, Tensor]:
    """``base + weight * vector``; what the vector does not hold stays."""
    return {name: base[name] + weight * change for name, change in vector.items()}


def total(vectors: Sequence[Weights]) -> dict[str, Tensor]:
    """The sum of task vectors (Ilharco et al. 2023, arXiv 2212.04089)."""
    names = dict.fromkeys(name for vector in vectors for name in vector)
    return {
        name: torch.stack([vector[name] for vector in vectors if name in vector]).sum(0) for name in names
    }


def trimmed(vector: Weights, density: float) -> dict[str, Tensor]:
    """The largest entries of a whole vector, by magnitude and over all tensors; zeros elsewhere.

    Args:
        vector: by name.
        density: share that is kept, rounded down; entries that tie with the smallest one are kept too.
    """
    sizes = torch.cat([tensor.abs().flatten() for tensor in vector.values()])
    kept = int(density * len(sizes))
    least = sizes.kthvalue(len(sizes) - kept + 1).values if kept else sizes.new_full((), torch.inf)
    return {
        name: torch.where(tensor.abs() >= least, tensor, torch.zeros_like(tensor))
        for name, tensor in vector.items()
    }


def ties(vectors: Sequence[Weights], density: float) -> dict[str, Tensor]:
    """TIES: trim each vector, elect one sign per weight, average what agrees with it.

    The sign is that of the sum of what was left of all vectors; where that is zero, that of most weights. An
    average is over the entries that have it, not over all vectors. (Yadav et al. 2023, arXiv 2306.01708)

    Args:
        vectors: one per domain.
        density: see `trimmed`.
    """
    cut = [trimmed(vector, density) for vector in vectors]
    sums = total(cut)
    majority = torch.stack([tensor.sign().sum() for tensor in sums.values()]).sum().sign()
    merged = {}
    for name, mass in sums.items():
        sign = torch.where(mass == 0, majority, mass.sign())
        entries = torch.stack([vector[name] for vector in cut if name in vector])
        agreeing = torch.where(entries * sign > 0, entries, torch.zeros_like(entries))
        merged[name] = agreeing.sum(0) / (agreeing != 0).sum(0).clamp_min(1)
    return merged
