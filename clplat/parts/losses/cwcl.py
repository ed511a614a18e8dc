"""CWCL: targets of a frozen side are right answers by degrees."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from torch import Tensor

from clplat.config.space import Float
from clplat.parts.losses._base import Loss
from clplat.parts.losses.info_nce import info_nce

if TYPE_CHECKING:
    from clplat.data.batch import Batch
    from clplat.models.outputs import Outputs
    from clplat.progress import Progress

__all__ = ["CWCL"]


class CWCL(Loss):
    """Continuously weighted contrast: a target is drawn to every query as far as their targets are alike.

    ``L = (L_frozen + L_plain) / 2`` with ``L_frozen = -mean_i sum_j w_ij log softmax_j(scale s_ji) / sum_j
    w_ij`` of target i over the queries j, ``w_ij = 0.5 + 0.5 <c_i, c_j>`` from the targets' own embeddings c,
    and L_plain the InfoNCE of the queries over all candidates. Weights get no gradient; they are those of a
    fixed space where the tower of the targets is frozen.

    Args:
        temperature: the scale is 1 / temperature. None: the model's own logit scale.

    References:
        Srinivasa et al. 2023, CWCL: Cross-Modal Transfer with Continuously Weighted Contrastive Loss,
        arXiv 2309.14580.

    Example:
        >>> CWCL(temperature=0.1).soft
        True
    """

    soft = True

    def __init__(self, temperature: Annotated[float | None, Float(0.01, 0.5, log=True)] = None) -> None:
        super().__init__()
        if temperature is not None and not temperature > 0:
            raise ValueError(f"temperature must be above 0, not {temperature}")
        self.temperature = temperature

    def forward(self, outputs: Outputs, batch: Batch, progress: Progress) -> Tensor:
        scale = outputs.scale if self.temperature is None else 1.0 / self.temperature
        logits, count = outputs.scores(scale=scale), len(batch)
        targets = outputs.candidates[:count].detach()
        alike = 0.5 + 0.5 * outputs.scores(targets, targets)
        plain = info_nce(logits, positive=batch.positive, valid=batch.valid, weights=batch.weights)
        back, valid = logits[:, :count].T, batch.valid[:, :count].T
        frozen = info_nce(back, soft_targets=alike, valid=valid, weights=batch.weights)
        return (frozen + plain) / 2
