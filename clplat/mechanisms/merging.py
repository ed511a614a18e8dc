"""Merging of models in weight space: task vectors, and what is made of several; dicts of tensors by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeAlias

import torch
from torch import Tensor

from clplat.errors import UserError
from clplat.mechanisms.weight_space import padded

__all__ = [
    "Merges",
    "Weights",
    "added",
    "arc",
    "dropped",
    "greedy_soup",
    "isotropic",
    "mean",
    "task_vector",
    "ties",
    "total",
    "trimmed",
    "weighted_mean",
]

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


def dropped(vector: Weights, share: float, draw: torch.Generator) -> dict[str, Tensor]:
    """DARE: entries of a vector are set to zero by chance, and the others scaled so that its mean stays.

    Args:
        vector: by name.
        share: chance of each entry, below 1.
        draw: on the CPU.

    References:
        Yu et al. 2024, Language Models are Super Mario, arXiv 2311.03099.
    """
    if not share:
        return dict(vector)
    kept = {name: torch.rand(tensor.shape, generator=draw) >= share for name, tensor in vector.items()}
    return {name: tensor * kept[name].to(tensor.device) / (1 - share) for name, tensor in vector.items()}


def weighted_mean(vectors: Sequence[Weights], importances: Sequence[Weights]) -> dict[str, Tensor]:
    """Fisher merging: the mean of each weight, weighted by how much it matters to each of the models.

    Args:
        vectors: weights, or their changes from one start.
        importances: by name, as of `clplat.mechanisms.importance.fisher`; a weight without one, and one that
            matters to none, is averaged.

    References:
        Matena & Raffel 2022, Merging Models with Fisher-Weighted Averaging, arXiv 2111.09832.

    Example:
        >>> vectors = [{"w": torch.tensor([0.0])}, {"w": torch.tensor([4.0])}]
        >>> shares = [{"w": torch.tensor([1.0])}, {"w": torch.tensor([3.0])}]
        >>> weighted_mean(vectors, shares)["w"].round(decimals=3)
        tensor([3.])
    """
    merged = {}
    for name in vectors[0]:
        values = torch.stack([vector[name] for vector in vectors])
        found = [one.get(name, torch.zeros_like(values[0])) for one in importances]
        shares = torch.stack([padded(f, values[0].shape) for f in found]) + 1e-6
        merged[name] = (shares * values).sum(0) / shares.sum(0)
    return merged


def isotropic(vectors: Sequence[Weights]) -> dict[str, Tensor]:
    """The sum of vectors, with all singular values of each matrix at their mean: no domain's directions lead.

    What is no matrix is averaged; kernels of convolutions are matrices with a row for each output.

    References:
        Marczak et al. 2025, No Task Left Behind: Isotropic Model Merging with Common and Task-Specific
        Subspaces, arXiv 2502.04959: its Iso-C.
    """
    merged = {}
    for name, tensor in total(vectors).items():
        if tensor.ndim < 2:
            merged[name] = tensor / len(vectors)
            continue
        left, values, right = torch.linalg.svd(tensor.flatten(1), full_matrices=False)
        merged[name] = (values.mean() * left @ right).view_as(tensor)
    return merged


def arc(start: Tensor, end: Tensor, share: float) -> Tensor:
    """Spherical interpolation of a tensor: along the arc between two weights, not across its chord.

    Tensors that point nearly the same way, or of which one is zero, are interpolated in a straight line.

    Example:
        >>> round(float(arc(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]), 0.5).norm()), 4)
        1.0
    """
    lengths = start.norm() * end.norm()
    cosine = (start * end).sum() / lengths.clamp_min(1e-30)
    angle = cosine.clamp(-1, 1).acos()
    if float(lengths) == 0 or float(angle.sin()) < 1e-4:
        return torch.lerp(start, end, share)
    before, after = ((1 - share) * angle).sin() / angle.sin(), (share * angle).sin() / angle.sin()
    between: Tensor = before * start + after * end
    return between


def greedy_soup(models: Sequence[Weights], score: Callable[[Weights], float]) -> list[int]:
    """Places of the models whose mean is the soup: the best one, and of the others those that do not hurt it.

    Args:
        models: of one structure.
        score: on validation data; more is better. It is asked twice for a model at most.

    References:
        Wortsman et al. 2022, Model soups, arXiv 2203.05482.
    """
    order = sorted(range(len(models)), key=lambda place: score(models[place]), reverse=True)
    chosen, best = order[:1], score(models[order[0]])
    for place in order[1:]:
        made = mean([models[i] for i in [*chosen, place]])
        if (value := score(made)) >= best:
            chosen, best = [*chosen, place], value
    return sorted(chosen)


def mean(vectors: Sequence[Weights]) -> dict[str, Tensor]:
    """The mean of vectors or of models: a uniform soup (Wortsman et al. 2022, arXiv 2203.05482)."""
    return {name: tensor / len(vectors) for name, tensor in total(vectors).items()}
