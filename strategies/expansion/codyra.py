"""CoDyRA: the ranks of a LoRA have scales, of which an L1 penalty leaves those that a domain needs."""

from __future__ import annotations

from typing import Annotated, Any

from clplat.config.space import Float
from clplat.mechanisms.low_rank import ScaledRanks
from clplat.parts.adapters._growing import Growing, PerDomain
from clplat.training.strategy import Strategy, SupportsLearning

__all__ = ["CoDyRA"]

_LORA = Growing(r=16, alpha=16.0)


class CoDyRA(Strategy):
    """Growth: every domain trains a LoRA ``B diag(w) A`` in all layers, whose ranks it gives up one by one.

    After each step of the optimizer beyond the first share of a domain, ``w <- sign(w) max(|w| - k, 0)``,
    where k grows evenly from 0 to ``kappa``: the proximal step of a growing L1 penalty. Ranks whose w arrives
    at zero count no more. What is left stays in the sum when the domain ends, and the next one begins with
    new ranks, so that nothing is chosen at test time.

    Args:
        kappa: the largest threshold of a step. What it takes in all grows with the steps of a domain.
        dense: share of a domain's steps that come before.
        lora: the LoRA of a domain.

    Raises:
        ValueError: a negative threshold, a share outside [0, 1).

    References:
        Lu et al., "Adaptive Rank, Reduced Forgetting: Knowledge Retention in Continual Learning
        Vision-Language Models with Dynamic Rank-Selective LoRA", arXiv 2412.01004.

    Numbers:
        ``ranks``: share of the last domain's ranks that count; ``rank <layer>``: how many, in each layer.

    Needs:
        A `ComposedRetriever` without another adapter, and a loop that says how long an experience is. A
        composer with weights is trained on.

    Relations:
        `SDLoRA` scales changes, not ranks; `OrthogonalLoRA` keeps all ranks of all domains.

    Example:
        >>> CoDyRA(kappa=0.01).kappa
        0.01
    """

    any_module = False
    plain = "lora"
    brings = ("adapter", "prompt")
    state = ("_ranks",)

    def __init__(
        self,
        kappa: Annotated[float, Float(1e-4, 0.05, log=True)] = 0.005,
        dense: float = 0.5,
        lora: Growing = _LORA,
    ) -> None:
        if not kappa >= 0 or not 0 <= dense < 1:
            raise ValueError(f"kappa must be at least 0 and dense in [0, 1), not {kappa} and {dense}")
        self.kappa, self.dense, self.lora = kappa, dense, lora
        self.changes = PerDomain(lora, "codyra", ScaledRanks)
        self._ranks: dict[str, int] = {}

    def before_experience(self, learner: SupportsLearning, experience: Any) -> None:
        self.changes.grow(learner.model)

    def rebuild(self, learner: SupportsLearning) -> None:
        list(self.changes.again(learner.model))

    def threshold(self, fraction: float) -> float:
        """Of a step that ends at this share of a domain."""
        return self.kappa * max(0.0, fraction - self.dense) / (1 - self.dense)

    def after_step(self, learner: SupportsLearning, batch: Any, outputs: Any) -> None:
        threshold = self.threshold(learner.progress.fraction)
        if threshold > 0:
            for change in self._newest(learner).values():
                change.shrink(threshold)

    def after_experience(self, learner: SupportsLearning, experience: Any) -> None:
        self._ranks = {path: change.alive() for path, change in self._newest(learner).items()}

    def numbers(self) -> dict[str, float]:
        alive, whole = sum(self._ranks.values()), self.lora.r * len(self._ranks)
        each = {f"rank {path}": float(count) for path, count in self._ranks.items()}
        return {"ranks": alive / whole, **each} if whole else {}

    def _newest(self, learner: SupportsLearning) -> dict[str, ScaledRanks]:
        layers = self.changes.layers(learner.model)
        found = {path: layer.newest() for path, layer in layers.items()}
        return {path: change for path, change in found.items() if isinstance(change, ScaledRanks)}
