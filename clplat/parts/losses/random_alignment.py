"""Random alignment: query and answer are drawn to one random point, and so to each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from clplat.parts.losses._base import Loss

if TYPE_CHECKING:
    from clplat.data.batch import Batch
    from clplat.models.outputs import Outputs
    from clplat.progress import Progress

__all__ = ["RandomAlignment"]


class RandomAlignment(Loss):
    """``L = mean_i (MSE(z_q, r_i) + MSE(z_t, r_i))``, one ``r_i ~ N(0, I)`` per pair and step for both sides.

    z are the features of query i and of its target before normalisation, where the model gives them
    (``raw_query``, ``raw_candidates``; most composers normalise themselves), else its embeddings. As r is new
    at every step, nothing is learnt by heart: both sides move to one distribution, and the gap between them
    closes. It says nothing of right and wrong: a strategy that keeps what is known belongs beside it.

    Args:
        seed: of the draws; by default the experiment's.

    References:
        Yamaguchi et al. 2025 (CLIP-Refine's RaFA), Post-pre-training for Modality Alignment in
        Vision-Language Foundation Models, arXiv 2504.12717.

    Example:
        >>> RandomAlignment(seed=1).soft
        True
    """

    soft = True

    def __init__(self, seed: int | None = None) -> None:
        super().__init__()
        self.seed = seed

    def forward(self, outputs: Outputs, batch: Batch, progress: Progress) -> Tensor:
        count, width = outputs["raw_query" if "raw_query" in outputs.parts else "query"].shape
        names = getattr(batch, "ids", range(count))
        # By the example's name, so that its place in the batch does not matter.
        points = [
            torch.randn(width, generator=progress.generator(self.seed or 0, f"random alignment {name}"))
            for name in names
        ]
        goal = torch.stack(points).to(outputs.query.device)
        raw = [f"raw_{side}" if f"raw_{side}" in outputs.parts else side for side in ("query", "candidates")]
        rows = [(outputs[side][:count].float() - goal).square().mean(1) for side in raw]
        weights = batch.weights.to(goal.dtype)
        return (weights * torch.stack(rows).sum(0)).sum() / weights.sum().clamp(min=1e-12)
