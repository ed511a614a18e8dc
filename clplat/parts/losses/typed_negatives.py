"""Typed negative texts: apart from the right text, and further from the picture by a margin that grows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import torch
from torch import Tensor

from clplat.config.space import Float
from clplat.parts.losses._base import Loss
from clplat.parts.losses.info_nce import InfoNCE

if TYPE_CHECKING:
    from clplat.data.batch import Batch
    from clplat.models.outputs import Outputs
    from clplat.progress import Progress

__all__ = ["TypedNegatives"]


class TypedNegatives(Loss):
    """A loss, a contrast of the targets with their negatives, and a ranking by adaptive margins.

    With queries I_i, targets T_i, scaled scores s, and the negatives T-_j that count for example i and are
    not right for it::

        contrast_i = -log( e^s(I_i,T_i) / (e^s(I_i,T_i) + sum_j e^s(T_i,T-_j)) )
        rank_ik    = max(0, Th_k + s(I_i,T-_ik) - s(I_i,T_i))      over the example's own negatives of type k

    each the mean over what is there. The margin Th_k of a type is what a batch's mean right score was above
    its mean score of that type in the step before, between 0 and ``bound``: as the model learns to tell them
    apart, more is asked of it. Margins begin at 0, are saved in checkpoints and go on from one experience to
    the next. Without negatives only ``base`` is left.

    Args:
        base: the loss that both are added to; by default a symmetric `InfoNCE`, in which the negatives are
            further candidates of the queries.
        contrast: weight of the contrast.
        rank: weight of the ranking.
        bound: of the margins, on scaled scores.
        types: kinds of negatives with a margin each; those of other kinds are not ranked.

    Reference:
        Zhang et al., "Contrasting Intra-Modal and Ranking Cross-Modal Hard Negatives to Enhance
        Visio-Linguistic Compositional Understanding", CVPR 2024, arXiv:2306.08832 (CE-CLIP).

    Example:
        >>> TypedNegatives(types=["swapped_noun"]).margins
        tensor([0.])
    """

    margins: Tensor

    def __init__(
        self,
        base: Loss | None = None,
        contrast: Annotated[float, Float(0.05, 1.0, log=True)] = 0.2,
        rank: Annotated[float, Float(0.05, 1.0, log=True)] = 0.2,
        bound: float = 10.0,
        types: Sequence[str] = ("relation", "attribute", "object", "action"),
    ) -> None:
        super().__init__()
        for name, value in (("contrast", contrast), ("rank", rank), ("bound", bound)):
            if not value >= 0:
                raise ValueError(f"{name} must be at least 0, not {value}")
        if not types or len(set(types)) < len(types):
            raise ValueError(f"types must be different names, at least one, not {list(types)}")
        self.base = base if base is not None else InfoNCE(symmetric=True)
        self.contrast, self.rank, self.bound, self.types = contrast, rank, bound, tuple(types)
        self.register_buffer("margins", torch.zeros(len(self.types)))

    def forward(self, outputs: Outputs, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        made = self.base(outputs, batch, progress)
        terms: dict[str, Tensor] = made if isinstance(made, dict) else {"base": made}
        count = len(batch)
        scores = outputs.scores(scale=outputs.scale)
        right, wrong = scores[:, :count].diagonal(), scores[:, count:]
        counts = (batch.valid & ~batch.positive)[:, count:]
        weights = batch.weights.to(scores.dtype)
        targets, negatives = outputs.candidates[:count], outputs.candidates[count:]
        beside = outputs.scores(targets, negatives, scale=outputs.scale)
        apart = contrast_with(right, beside, counts)
        terms["contrast"] = self.contrast * (apart * weights).sum() / weights.sum().clamp(min=1e-12)
        terms["rank"] = self.rank * self._ranking(right, wrong, counts, batch)
        return terms

    def _ranking(self, right: Tensor, wrong: Tensor, counts: Tensor, batch: Batch) -> Tensor:
        """The mean of the margins that are missed, by the margins of the step before."""
        count, device = len(batch), right.device
        held = [
            (c, batch.owners[count + c], self.types.index(kind))
            for c, kind in enumerate(batch.kinds[count:])
            if kind in self.types
        ]
        if not held:
            return right.sum() * 0.0
        column, owner, kind = torch.tensor(held, device=device).T
        own = wrong[owner, column]
        there = counts[owner, column].to(right.dtype)
        missed = (self.margins[kind] + own - right[owner]).relu() * there
        if torch.is_grad_enabled():
            self._adapt(right.detach(), own.detach(), kind, there)
        return missed.sum() / there.sum().clamp(min=1.0)

    @torch.no_grad()
    def _adapt(self, right: Tensor, own: Tensor, kind: Tensor, there: Tensor) -> None:
        """Margins for the next step; a type that this batch has not keeps its own."""
        sums = torch.zeros_like(self.margins).index_add(0, kind, own * there)
        numbers = torch.zeros_like(self.margins).index_add(0, kind, there)
        gaps = (right.mean() - sums / numbers.clamp(min=1.0)).clamp(0.0, self.bound)
        # In place: a checkpoint and the optimizer know the buffer.
        self.margins.copy_(torch.where(numbers > 0, gaps, self.margins))


def contrast_with(right: Tensor, wrong: Tensor, counts: Tensor) -> Tensor:
    """``-log( e^right_i / (e^right_i + sum of e^wrong_ij over what counts) )``, by rows (B,).

    Args:
        right: (B,) scaled scores.
        wrong: (B, N) scaled scores.
        counts: (B, N) bool.

    Example:
        >>> contrast_with(torch.zeros(1), torch.zeros(1, 2), torch.tensor([[True, False]]))
        tensor([0.6931])
    """
    logits = torch.cat([right[:, None], wrong.masked_fill(~counts, -torch.inf)], dim=1)
    return logits.logsumexp(1) - right
