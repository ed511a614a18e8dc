"""Identities: one classifier names the answer of a query and of its target."""

from __future__ import annotations

from typing import TYPE_CHECKING
from zlib import crc32

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from clplat.parts.losses._base import Loss

if TYPE_CHECKING:
    from clplat.data.batch import Batch
    from clplat.models.outputs import Outputs
    from clplat.models.view import Towers
    from clplat.progress import Progress

__all__ = ["Identities", "class_of"]


class Identities(Loss):
    """``(CE(W q_i + b, y_i) + CE(W t_i + b, y_i)) / 2``: queries and targets of an answer are one class.

    The rows are those before head and normalisation where a model gives them. Answers (``batch.labels``) of
    domains to come are not known before, so that a name is hashed to one of ``classes`` rows: names that
    share one are a class together. What has no name is left out. It belongs beside a loss that compares, as
    in ``--loss sdm,identities``.

    Args:
        classes: rows of the classifier; many more than names keep them apart.

    References:
        Zheng et al. 2020, Dual-Path Convolutional Image-Text Embeddings with Instance Loss, arXiv 1711.05535,
        as in Jiang & Ye 2023 (IRRA), arXiv 2303.12501; of names hashed to rows: Weinberger et al. 2009,
        Feature Hashing for Large Scale Multitask Learning, arXiv 0902.2206.

    Example:
        >>> Identities(classes=100).classes
        100
    """

    soft = True

    def __init__(self, classes: int = 4096) -> None:
        super().__init__()
        if classes < 2:
            raise ValueError(f"classes must be at least 2, not {classes}")
        self.classes = classes

    def attach(self, towers: Towers) -> None:
        self.layer = nn.Linear(towers.joint, self.classes)
        nn.init.normal_(self.layer.weight, std=0.001)
        nn.init.zeros_(self.layer.bias)

    def forward(self, outputs: Outputs, batch: Batch, progress: Progress) -> Tensor:
        names = batch.labels[: len(batch)]
        rows = [i for i, name in enumerate(names) if name]
        device = outputs.query.device
        goal = torch.tensor([class_of(names[i], self.classes) for i in rows], device=device)
        weights = batch.weights.to(device, torch.float32)[rows]
        sides = [
            outputs[f"raw_{side}"] if f"raw_{side}" in outputs.parts else outputs[side]
            for side in ("query", "candidates")
        ]
        costs = [cross_entropy(self.layer(side[rows].float()), goal, reduction="none") for side in sides]
        return (weights * torch.stack(costs).mean(0)).sum() / weights.sum().clamp(min=1e-12)


def class_of(name: str, classes: int) -> int:
    """The row of a name, the same on every machine.

    Example:
        >>> class_of("shoes/red", 4096)
        447
    """
    return crc32(name.encode()) % classes
