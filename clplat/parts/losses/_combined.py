"""Several losses as one: ``--loss info_nce,sdm --loss.weights [1,0.5]``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor, nn

from clplat.parts.losses._base import Loss

if TYPE_CHECKING:
    from clplat.data.batch import Batch
    from clplat.models.outputs import Outputs
    from clplat.progress import Progress

__all__ = ["WeightedSum"]


class WeightedSum(Loss):
    """``sum_k w_k L_k``; every weighted loss is logged under the name of its class.

    Args:
        parts: the losses.
        weights: one for each, at least 0; all 1 unless given.
    """

    def __init__(self, parts: Sequence[Loss], weights: list[float] | None = None) -> None:
        super().__init__()
        if weights is not None and (len(weights) != len(parts) or min(weights) < 0):
            raise ValueError(f"weights must be {len(parts)} numbers of at least 0, not {weights}")
        self.parts = parts if isinstance(parts, nn.ModuleList) else nn.ModuleList(parts)
        self.weights = weights
        self.soft = any(part.soft for part in parts)  # type: ignore[misc]

    def attach(self, towers: object) -> None:
        for part in self.parts:
            part.attach(towers)  # type: ignore[operator]

    def forward(self, outputs: Outputs, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        for part, weight in zip(self.parts, self.weights or [1.0] * len(self.parts), strict=True):
            value, name = part(outputs, batch, progress), type(part).__name__
            terms = {f"{name}.{key}": term for key, term in value.items()} if isinstance(value, dict) else {}
            for key, term in (terms or {name: value}).items():
                found[key] = found[key] + weight * term if key in found else weight * term
        return found
