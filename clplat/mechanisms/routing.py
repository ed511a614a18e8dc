"""A training-free router: the bare backbone's features decide which domain's adapter a picture goes to."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["Router"]


class Router(nn.Module):
    """Nearest domain prototypes under the frozen base model; far from all of them: the base itself.

    Each domain is described by a few prototypes (k-means centres of its training pictures' features) and by
    how far its own pictures are from them. A picture goes to the domain of the nearest prototype, or to none
    (-1) when it lies further away than nearly all training pictures of that domain did.

    Args:
        activate: switches the backbone to the adapter of that name; ``None`` for the bare base.
        quantile: of the distances of a domain's own pictures beyond which a picture counts as outside.

    References:
        Distance-based routing to frozen experts, in the manner of MoDE (arXiv 2404.16030), with the
        out-of-stream rule of MoE-Adapters (arXiv 2403.11549).
    """

    def __init__(
        self, activate: Callable[[str | None], None], prototypes: int = 4, quantile: float = 0.99
    ) -> None:
        super().__init__()
        self.activate = activate
        self.count, self.quantile = prototypes, quantile
        self.names: list[str] = []
        self.centres: list[Tensor] = []
        self.radii: list[float] = []

    def add(self, name: str, features: Tensor) -> None:
        """Describe a domain by the base features (N, D) of its training pictures."""
        unit = F.normalize(features.float(), dim=-1)
        # Lloyd's algorithm from evenly spaced rows: deterministic, and a few prototypes are enough.
        start = torch.linspace(0, len(unit) - 1, min(self.count, len(unit)), device=unit.device).long()
        centres = unit[start]
        for _ in range(10):
            nearest = (unit @ centres.T).argmax(1)
            sums = torch.zeros_like(centres).index_add_(0, nearest, unit)
            centres = F.normalize(torch.where(sums.norm(dim=1, keepdim=True) > 0, sums, centres), dim=-1)
        distance = 1 - (unit @ centres.T).max(1).values
        self.names.append(name)
        self.centres.append(centres)
        self.radii.append(float(distance.quantile(self.quantile)))

    def forward(self, features: Tensor) -> Tensor:
        """Index into ``names`` for each of the base features (B, D); -1 for the bare base."""
        unit = F.normalize(features.float(), dim=-1)
        similarity = torch.stack([(unit @ c.to(unit.device).T).max(1).values for c in self.centres], dim=1)
        best, choice = similarity.max(1)
        limit = torch.tensor(self.radii, device=unit.device)[choice]
        return torch.where(1 - best <= limit, choice, torch.full_like(choice, -1))
