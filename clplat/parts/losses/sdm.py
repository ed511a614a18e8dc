"""SDM: the distribution of scores matches that of the right answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import torch
from torch import Tensor

from clplat.config.space import Float
from clplat.mechanisms.relation import divergence
from clplat.parts.losses._base import Loss

if TYPE_CHECKING:
    from clplat.data.batch import Batch
    from clplat.models.outputs import Outputs
    from clplat.progress import Progress

__all__ = ["SDM"]


class SDM(Loss):
    """Similarity distribution matching: ``KL(softmax(scale s_i) || y_i / sum y_i)``, both directions added.

    The divergence is in the reverse order of a cross-entropy: the model's distribution p comes first, so that
    probability on a wrong candidate costs ``p log(p / epsilon)`` and all right answers share the rest evenly.
    Queries go over all candidates, the B targets over the B queries.

    Args:
        temperature: the scale is 1 / temperature. None: the model's own logit scale.
        epsilon: added to the wanted distribution, whose zeros would cost infinitely much.

    References:
        Jiang & Ye 2023 (IRRA), Cross-Modal Implicit Relation Reasoning and Aligning for Text-to-Image Person
        Retrieval, arXiv 2303.12501.

    Example:
        >>> SDM(temperature=0.02).epsilon
        1e-08
    """

    def __init__(
        self,
        temperature: Annotated[float | None, Float(0.01, 0.5, log=True)] = 0.02,
        epsilon: float = 1e-8,
    ) -> None:
        super().__init__()
        if temperature is not None and not temperature > 0:
            raise ValueError(f"temperature must be above 0, not {temperature}")
        if not epsilon > 0:
            raise ValueError(f"epsilon must be above 0, not {epsilon}")
        self.temperature, self.epsilon = temperature, epsilon

    def forward(self, outputs: Outputs, batch: Batch, progress: Progress) -> Tensor:
        scale = outputs.scale if self.temperature is None else 1.0 / self.temperature
        logits, count = outputs.scores(scale=scale), len(batch)
        positive, valid = batch.positive, batch.valid
        forth = self._one_way(logits, positive, valid, batch.weights)
        back, right, seen = (matrix[:, :count].T for matrix in (logits, positive, valid))
        return forth + self._one_way(back, right, seen, batch.weights)

    def _one_way(self, logits: Tensor, positive: Tensor, valid: Tensor, weights: Tensor) -> Tensor:
        goal = (positive & valid).to(logits.dtype)
        mass = goal.sum(1, keepdim=True)
        # A row without a right answer wants nothing and is left out.
        keep = mass > 0
        log_p = logits.masked_fill(~valid & keep, -torch.inf).log_softmax(1)
        wanted = (goal / mass.where(keep, torch.ones_like(mass)) + self.epsilon).log()
        rows = divergence(wanted, log_p, valid, "reversed")
        share = weights.to(logits.dtype) * keep.squeeze(1)
        return (share * rows).sum() / share.sum().clamp(min=1e-12)
