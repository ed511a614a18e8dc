"""Energy confusion: what shows different things is drawn together, against what tells it apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from clplat.parts.losses._base import Loss

if TYPE_CHECKING:
    from clplat.data.batch import Batch
    from clplat.models.outputs import Outputs
    from clplat.progress import Progress

__all__ = ["EnergyConfusion"]


class EnergyConfusion(Loss):
    """The mean squared distance of embeddings of different classes, made small: ``E |z_i - z_j|^2``.

    A metric loss separates the classes it is trained on by whatever is easiest. Beside it this term confuses
    what it has found, so that it has to look for more, which classes to come may need. It knows nothing of
    right answers: `InfoNCE` or another metric loss belongs beside it, with a larger weight
    (``--loss info_nce,energy_confusion --loss.weights [1,0.1]``). Pairs are of targets and of queries, each
    side with itself; classes are the answers of a batch (``batch.labels``).

    References:
        Chen & Deng 2019 (ECAML), Energy Confused Adversarial Metric Learning for Zero-Shot Image Retrieval
        and Clustering, AAAI 2019, arXiv 1901.07169.

    Example:
        >>> EnergyConfusion().soft
        True
    """

    soft = True

    def forward(self, outputs: Outputs, batch: Batch, progress: Progress) -> Tensor:
        count = len(batch)
        names = batch.labels[:count]
        place = {name: i for i, name in enumerate(dict.fromkeys(names))}
        # What has no name is like nothing else.
        own = torch.tensor([place[n] if n else len(place) + i for i, n in enumerate(names)])
        pairs = torch.triu(own[:, None] != own, diagonal=1).to(outputs.query.device)
        weights = batch.weights.to(outputs.query.device, torch.float32)
        shares = pairs * (weights[:, None] * weights)
        sides = (outputs.query.float(), outputs.candidates[:count].float())
        far = torch.stack([(rows[:, None] - rows).square().sum(-1) for rows in sides]).mean(0)
        return (shares * far).sum() / shares.sum().clamp(min=1e-12)
