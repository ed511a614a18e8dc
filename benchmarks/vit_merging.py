"""How far merged changes of weights, and RanPAC's scores, are from Mammoth's, for the same tensors."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from benchmarks.mammoth import stand_in
from clplat.mechanisms import merging
from clplat.parts.postprocessors._base import Banks, Scored
from clplat.parts.postprocessors.random_projection import RandomProjection
from clplat.randomness import generator

__all__ = ["isotropic", "merged_apart", "projected_apart", "ties", "total"]

_WIDE, _COUNT, _SHAPE = 64, 3, (8, 10)


def merged_apart(theirs: str, ours: Callable[[Sequence[dict[str, Tensor]]], Tensor]) -> float:
    """The largest relative difference of what three changes of a matrix become.

    Args:
        theirs: name of a class of theirs, with a weight of one over the number of changes.
        ours: of the changes.
    """
    stand_in()
    draw = generator(0, "changes")
    changes = [{"w": torch.randn(_SHAPE, generator=draw)} for _ in range(_COUNT)]
    kind = getattr(importlib.import_module("models.tak_utils.merging"), theirs)
    peer = kind("cpu")
    for change in changes:
        peer.add({**change, "bias": torch.ones(1)})  # without one theirs stops
    asked: Tensor = peer.merge()["w"]
    return float((ours(changes) - asked).abs().max() / asked.abs().max())


def ties(changes: Sequence[dict[str, Tensor]]) -> Tensor:
    """A fifth of the entries, and one more, which theirs keeps."""
    return merging.ties(changes, 17 / 80)["w"] / _COUNT


def isotropic(changes: Sequence[dict[str, Tensor]]) -> Tensor:
    """Of the mean of the changes; ours is of their sum."""
    return merging.isotropic(changes)["w"] / _COUNT


def total(changes: Sequence[dict[str, Tensor]]) -> Tensor:
    return merging.total(changes)["w"] / _COUNT


def projected_apart() -> float:
    """The largest difference of cosines: ours, and theirs of a class for each item, by its own length."""
    stand_in()
    module = importlib.import_module("models.ranpac")
    draw = generator(0, "features")
    rows, ridge = torch.randn(40, 6, generator=draw), 0.1
    own = RandomProjection(width=_WIDE, ridge=ridge)
    own.fit(Banks(rows, rows))
    ours, _ = own.map(Scored(rows), Scored(rows))
    layer: Any = SimpleNamespace(weight=torch.nn.Parameter(torch.zeros(len(rows), _WIDE)))
    network = SimpleNamespace(fc=layer, convnet=lambda x: x, eval=lambda: None, device="cpu")
    weights = torch.randn(6, _WIDE, generator=generator(0, "random features", 6))
    model: Any = SimpleNamespace(
        net=SimpleNamespace(_network=network), W_rand=weights, device="cpu", Q=0.0, G=0.0,
        dataset=SimpleNamespace(N_CLASSES=len(rows)),
        optimise_ridge_parameter=lambda made, _: ridge * float(made.square().sum()) / _WIDE,
    )  # fmt: skip
    module.RanPAC.replace_fc(model, [(rows, torch.arange(len(rows)))])
    scores = (rows @ weights).relu() @ layer.weight.detach().T
    lengths = scores.diagonal().sqrt()
    return float((ours @ ours.T - scores / lengths / lengths[:, None]).abs().max())
