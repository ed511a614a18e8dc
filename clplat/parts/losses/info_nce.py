"""InfoNCE of queries and candidates: several positives, soft targets, extra negatives, masks, weights."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize

from clplat.config.space import Float

__all__ = ["InfoNCE"]


class InfoNCE:
    """Contrast every query with all of its candidates.

    With ``s_ij = scale cos(q_i, c_j)`` and ``log p_ij = s_ij - log sum_{valid k} exp s_ik``, the loss of
    query i is

    * ``multi="mean"``: ``-1/|P_i| sum_{j in P_i} log p_ij``, SupCon's "out" form: every positive is pulled;
    * ``multi="sum"``: ``-log sum_{j in P_i} p_ij``, MIL-NCE: one good positive is enough;
    * with soft targets: ``-sum_j y_ij log p_ij``, y_i normalised to sum 1 over the valid candidates.

    With one positive the first two are the plain InfoNCE of CLIP and CLIP4Cir. Other positives stay in the
    denominator, as in SupCon.

    Args:
        temperature: the scale is 1 / temperature. None: the model's own logit scale, an argument of the call.
        symmetric: average with the loss of the first B candidates as anchors over the B queries. Extra
            candidates are never anchors.
        multi: form for several positives.

    Reference:
        van den Oord et al., "Representation Learning with Contrastive Predictive Coding", arXiv:1807.03748;
        Khosla et al., "Supervised Contrastive Learning", NeurIPS 2020, arXiv:2004.11362 (several positives);
        Miech et al., "End-to-End Learning of Visual Representations from Uncurated Instructional Videos",
        CVPR 2020, arXiv:1912.06430 (MIL-NCE).

    Example:
        >>> loss = InfoNCE(temperature=0.5)
        >>> loss(torch.eye(2), torch.eye(2))
        tensor(0.1269)
    """

    #: What a call is given: queries and candidates.
    takes: ClassVar[Literal["embeddings", "similarities"]] = "embeddings"

    def __init__(
        self,
        temperature: Annotated[float | None, Float(0.01, 0.5, log=True)] = None,
        symmetric: bool = False,
        multi: Literal["mean", "sum"] = "mean",
    ) -> None:
        if temperature is not None and not temperature > 0:
            raise ValueError(f"temperature must be above 0, not {temperature}")
        if multi not in ("mean", "sum"):
            raise ValueError(f"multi must be 'mean' or 'sum', not '{multi}'")
        self.temperature = temperature
        self.symmetric = symmetric
        self.multi = multi

    def __call__(
        self,
        query: Tensor,
        candidates: Tensor,
        *,
        scale: Tensor | float | None = None,
        positive: Tensor | None = None,
        valid: Tensor | None = None,
        soft_targets: Tensor | None = None,
        weights: Tensor | None = None,
    ) -> Tensor:
        """Return the scalar loss, the weighted mean over the queries.

        A query without any valid positive is skipped: it adds neither loss nor weight.

        Args:
            query: (B, D); rows need not have unit length.
            candidates: (C, D), C >= B: the targets, then extra negatives or positives.
            scale: the model's logit scale (after exp), used where ``temperature`` is None.
            positive: (B, C) bool, candidate answers query. Default: candidate i answers query i.
            valid: (B, C) bool, candidate counts for query; others get -inf. Default: all.
            soft_targets: (B, C) non-negative; replaces ``positive``.
            weights: (B,) of the queries; the mean divides by their sum. Weights that are all 0 give 0.

        Raises:
            ValueError: shapes that do not fit, no scale at all, or no query with a valid positive.
        """
        logits = self._logits(query, candidates, scale)
        size, rows = logits.shape, len(query)
        if positive is None:
            positive = torch.eye(*size, dtype=torch.bool, device=logits.device)
        if valid is None:
            valid = torch.ones(size, dtype=torch.bool, device=logits.device)
        goal = positive if soft_targets is None else soft_targets
        pool = self.multi == "sum" and soft_targets is None
        for name, mask in (("positive", positive), ("valid", valid), ("soft_targets", goal)):
            if mask.shape != size:
                raise ValueError(f"{name} must be (B, C) = {tuple(size)}, not {tuple(mask.shape)}")
        if weights is None:
            weights = logits.new_ones(rows)
        loss = _one_way(logits, goal, valid, weights, pool)
        if self.symmetric:
            back, goal, valid = logits[:, :rows].T, goal[:, :rows].T, valid[:, :rows].T
            loss = (loss + _one_way(back, goal, valid, weights, pool)) / 2
        return loss

    def _logits(self, query: Tensor, candidates: Tensor, scale: Tensor | float | None) -> Tensor:
        if query.ndim != 2 or candidates.ndim != 2 or len(candidates) < len(query):
            shapes = f"{tuple(query.shape)} and {tuple(candidates.shape)}"
            raise ValueError(f"query (B, D) and candidates (C, D) with C >= B are needed, not {shapes}")
        if self.temperature is not None:
            scale = 1.0 / self.temperature
        if scale is None:
            raise ValueError("info_nce has no temperature: pass scale, the model's logit scale")
        # Full precision also under autocast: at scale 100, bfloat16 rounds logits to steps of 0.5.
        with torch.autocast(query.device.type, enabled=False):
            return scale * normalize(query.float(), dim=-1) @ normalize(candidates.float(), dim=-1).T


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
