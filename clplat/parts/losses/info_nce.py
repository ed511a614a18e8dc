"""InfoNCE of queries and candidates: several positives, soft targets, extra negatives, masks, weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import torch
from torch import Tensor

from clplat.config.space import Float
from clplat.parts.losses._base import Loss

if TYPE_CHECKING:
    from clplat.data.batch import Batch
    from clplat.models.outputs import Outputs
    from clplat.progress import Progress

__all__ = ["InfoNCE", "info_nce"]


class InfoNCE(Loss):
    """Contrast every query with all of its candidates.

    With scores ``s_ij`` of query i and candidate j, ``l_ij = scale s_ij`` and
    ``log p_ij = l_ij - log sum_{valid k} exp l_ik``, the loss of query i is

    * ``multi="mean"``: ``-1/|P_i| sum_{j in P_i} log p_ij``, SupCon's "out" form: every positive is pulled;
    * ``multi="sum"``: ``-log sum_{j in P_i} p_ij``, MIL-NCE: one good positive is enough.

    With one positive both are the plain InfoNCE of CLIP and CLIP4Cir. Other positives stay in the
    denominator, as in SupCon. `info_nce` is the same as a function of logits, with soft targets.

    Args:
        temperature: the scale is 1 / temperature. None: the model's own logit scale.
        symmetric: average with the loss of the first B candidates as anchors over the B queries. Extra
            candidates are never anchors.
        multi: form for several positives.
        own_side: queries of other answers are negatives of a query too.

    Reference:
        van den Oord et al., "Representation Learning with Contrastive Predictive Coding", arXiv:1807.03748;
        Khosla et al., "Supervised Contrastive Learning", NeurIPS 2020, arXiv:2004.11362 (several positives);
        Miech et al., "End-to-End Learning of Visual Representations from Uncurated Instructional Videos",
        CVPR 2020, arXiv:1912.06430 (MIL-NCE).

    Example:
        >>> InfoNCE(temperature=0.5).temperature
        0.5
    """

    def __init__(
        self,
        temperature: Annotated[float | None, Float(0.01, 0.5, log=True)] = None,
        symmetric: bool = False,
        multi: Literal["mean", "sum"] = "mean",
        own_side: bool = False,
    ) -> None:
        super().__init__()
        if temperature is not None and not temperature > 0:
            raise ValueError(f"temperature must be above 0, not {temperature}")
        if multi not in ("mean", "sum"):
            raise ValueError(f"multi must be 'mean' or 'sum', not '{multi}'")
        self.temperature = temperature
        self.symmetric = symmetric
        self.multi = multi
        self.own_side = own_side

    def forward(self, outputs: Outputs, batch: Batch, progress: Progress) -> Tensor:
        scale = outputs.scale if self.temperature is None else 1.0 / self.temperature
        logits, positive, valid = outputs.scores(scale=scale), batch.positive, batch.valid
        if self.own_side:
            answers = positive.to(logits.dtype)
            other = (answers @ answers.T) == 0
            logits = torch.cat([logits, outputs.scores("query", "query", scale=scale)], dim=1)
            positive = torch.cat([positive, torch.zeros_like(other)], dim=1)
            valid = torch.cat([valid, other], dim=1)
        return info_nce(
            logits,
            positive=positive,
            valid=valid,
            weights=batch.weights,
            symmetric=self.symmetric,
            multi=self.multi,
        )


def info_nce(
    logits: Tensor,
    *,
    positive: Tensor | None = None,
    valid: Tensor | None = None,
    soft_targets: Tensor | None = None,
    weights: Tensor | None = None,
    symmetric: bool = False,
    multi: Literal["mean", "sum"] = "mean",
) -> Tensor:
    """The loss of `InfoNCE` as a function of logits: a scalar, the weighted mean over the queries.

    A query without any valid positive is skipped: it adds neither loss nor weight.

    Args:
        logits: (B, C), C >= B, scaled: of the targets, then of extra negatives or positives;
            `clplat.parts.cosines` makes them from embeddings.
        positive: (B, C) bool, candidate answers query. Default: candidate i answers query i.
        valid: (B, C) bool, candidate counts for query; others get -inf. Default: all.
        soft_targets: (B, C) non-negative, in place of ``positive``: ``-sum_j y_ij log p_ij``, y_i normalised
            to sum 1 over the valid candidates.
        weights: (B,) of the queries; the mean divides by their sum. Weights that are all 0 give 0.
        symmetric, multi: as in `InfoNCE`.

    Raises:
        ValueError: shapes that do not fit, or no query with a valid positive.

    Example:
        >>> info_nce(2.0 * torch.eye(2))
        tensor(0.1269)
    """
    size, rows = logits.shape, len(logits)
    if len(size) != 2 or size[1] < size[0]:
        raise ValueError(f"logits (B, C) with C >= B are needed, not {tuple(size)}")
    if positive is None:
        positive = torch.eye(*size, dtype=torch.bool, device=logits.device)
    if valid is None:
        valid = torch.ones(size, dtype=torch.bool, device=logits.device)
    goal = positive if soft_targets is None else soft_targets
    pool = multi == "sum" and soft_targets is None
    for name, mask in (("positive", positive), ("valid", valid), ("soft_targets", goal)):
        if mask.shape != size:
            raise ValueError(f"{name} must be (B, C) = {tuple(size)}, not {tuple(mask.shape)}")
    if weights is None:
        weights = logits.new_ones(rows)
    loss = _one_way(logits, goal, valid, weights, pool)
    if symmetric:
        back, goal, valid = logits[:, :rows].T, goal[:, :rows].T, valid[:, :rows].T
        loss = (loss + _one_way(back, goal, valid, weights, pool)) / 2
    return loss


def _one_way(logits: Tensor, goal: Tensor, valid: Tensor, weights: Tensor, pool: bool) -> Tensor:
    """The weighted mean over the rows of ``logits``; ``pool`` sums the probabilities of all positives."""
    goal = goal.to(logits.dtype) * valid
    mass = goal.sum(1, keepdim=True)
    keep = mass > 0
    # Elsewhere looking would stop the device: a batch without a positive gives NaN, which the trainer names.
    if keep.device.type == "cpu" and not keep.any():
        raise ValueError("no query has a valid positive candidate")
    # Skipped rows may be masked entirely: they keep their plain logits, so that no NaN reaches a gradient.
    log_p = logits.masked_fill(~valid & keep, -torch.inf).log_softmax(1)
    if pool:
        loss = -log_p.masked_fill((goal == 0) & keep, -torch.inf).logsumexp(1)
    else:
        share = goal / mass.where(keep, torch.ones_like(mass))
        loss = -(share * log_p.masked_fill(~valid, 0.0)).sum(1)
    weights = weights.to(logits.dtype) * keep.squeeze(1)
    mean = (weights * loss).sum() / weights.sum().clamp(min=1e-12)
    return mean.where(keep.any(), torch.nan)
