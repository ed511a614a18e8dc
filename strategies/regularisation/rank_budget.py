"""Rank budget: AdaLoRA's ranks are taken from where they matter least, over the steps of each domain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import torch
from torch import Tensor

from clplat.config.space import Float, Int
from clplat.errors import UserError
from clplat.models.names import named_parameters
from clplat.parts.adapters._base import Adapter
from clplat.parts.adapters.peft import AdaLoRA
from clplat.retriever import ComposedRetriever
from clplat.training.strategy import Strategy, SupportsLearning

__all__ = ["RankBudget", "budget_at"]


class RankBudget(Strategy):
    """AdaLoRA: all layers share a budget of ranks, which shrinks while a domain is trained.

    A rank is a triplet: a row of A, an entry of E, a column of B. Of each weight ``s = |w dL/dw|`` is
    smoothed over the steps, ``I <- b I + (1 - b) s``, and so is its uncertainty, ``U <- b U + (1 - b) |s -
    I|``. A rank's importance is the I U of its entry plus the means of I U over its row and its column. After
    a step the entries of all ranks but the most important ones are set to zero. Each domain begins with all.

    Args:
        target: ranks of a layer at the end, on average over the layers.
        adapter: an `AdaLoRA`, whose ``init_r`` is the rank of every layer at first.
        warmup: share of a domain's steps before the first ranks are taken.
        settle: share of a domain's steps at its end, in which the same ranks stay.
        every: steps between two allocations.
        smoothing: b.

    References:
        Zhang et al., "AdaLoRA: Adaptive Budget Allocation for Parameter-Efficient Fine-Tuning", ICLR 2023,
        arXiv 2303.10512.

    Numbers:
        ``ranks``: of a layer, on average, that are left.

    Needs:
        A `ComposedRetriever` without another adapter. A composer with weights is trained on.

    Example:
        >>> RankBudget(target=4).target
        4
    """

    any_module = False
    brings = ("adapter", "prompt")
    stores = "statistics"
    reads_gradient = True
    state = ("_domains", "_importance", "_uncertainty", "_kept")

    def __init__(
        self,
        target: Annotated[int, Int(2, 12)] = 8,
        adapter: Adapter | None = None,
        warmup: Annotated[float, Float(0.0, 0.3)] = 0.1,
        settle: Annotated[float, Float(0.1, 0.6)] = 0.3,
        every: int = 1,
        smoothing: Annotated[float, Float(0.5, 0.95)] = 0.85,
    ) -> None:
        if adapter is not None and not isinstance(adapter, AdaLoRA):
            raise ValueError(f"adapter is {type(adapter).__name__}; ranks can be taken from adalora alone")
        if target < 1 or every < 1 or not 0 < smoothing < 1:
            raise ValueError(
                "needs target and every of at least 1 and smoothing in (0, 1), "
                f"not {target}, {every} and {smoothing}"
            )
        if min(warmup, settle) < 0 or warmup + settle >= 1:
            raise ValueError(f"warmup and settle must leave steps between them, not {warmup} and {settle}")
        self.target, self.every, self.smoothing = target, every, smoothing
        self.warmup, self.settle = warmup, settle
        self.adapter = adapter if adapter is not None else AdaLoRA()
        self._domains = 0
        self._importance: dict[str, Tensor] = {}
        self._uncertainty: dict[str, Tensor] = {}
        self._kept: dict[str, Tensor] = {}

    def before_experience(self, learner: SupportsLearning, experience: Any) -> None:
        if not isinstance(learner.model, ComposedRetriever):
            raise UserError("rank_budget needs a ComposedRetriever as the model: it adapts its towers")
        backbone = learner.model.backbone
        if not self._domains:
            if any(p.requires_grad for p in backbone.parameters()):
                raise UserError(
                    "strategy 'rank_budget' brings its own adapter: use it with --adapter none and no prompt"
                )
            self.adapter.attach(backbone)
        self._domains += 1
        self._importance, self._uncertainty, self._kept = {}, {}, {}

    def rebuild(self, learner: SupportsLearning) -> None:
        if self._domains and isinstance(learner.model, ComposedRetriever):
            self.adapter.attach(learner.model.backbone)

    def after_backward(self, learner: SupportsLearning) -> None:
        if self._kept:
            return
        for name, p in _factors(learner).items():
            if p.grad is None:
                continue
            found, zero = (p.detach() * p.grad).abs(), torch.zeros_like(p)
            smooth = self._importance.get(name, zero).lerp(found, 1 - self.smoothing)
            self._importance[name] = smooth
            doubt = (found - smooth).abs()
            self._uncertainty[name] = self._uncertainty.get(name, zero).lerp(doubt, 1 - self.smoothing)

    def after_step(self, learner: SupportsLearning, batch: Any, outputs: Any) -> None:
        progress, entries = learner.progress, _entries(learner)
        if not progress.total or not entries:
            return
        if progress.fraction >= 1 - self.settle:
            self._kept = self._kept or self._best(entries, self.target * len(entries))
            _zero(entries, self._kept)
        elif progress.fraction > self.warmup and progress.done % self.every == 0:
            ranks = sum(map(len, entries.values()))
            share = (progress.fraction - self.warmup) / (1 - self.settle - self.warmup)
            _zero(entries, self._best(entries, budget_at(share, ranks, self.target * len(entries))))

    def after_experience(self, learner: SupportsLearning, experience: Any) -> None:
        entries = _entries(learner)
        if entries:  # where the loop does not say how many steps there are, all at once
            self._kept = self._kept or self._best(entries, self.target * len(entries))
            _zero(entries, self._kept)

    def numbers(self) -> dict[str, float]:
        if not self._kept:
            return {}
        return {"ranks": sum(int(kept.sum()) for kept in self._kept.values()) / len(self._kept)}

    def _best(self, entries: Mapping[str, Tensor], budget: int) -> dict[str, Tensor]:
        """Which ranks stay, by the names of the entries E: this many of the greatest importance."""
        scores = {name: self._score(name, entry) for name, entry in entries.items()}
        together, sizes = torch.cat([*scores.values()]), [len(score) for score in scores.values()]
        chosen = torch.zeros_like(together, dtype=torch.bool)
        chosen[together.sort(descending=True, stable=True).indices[:budget]] = True
        return dict(zip(scores, torch.split_with_sizes(chosen, sizes), strict=True))

    def _score(self, name: str, entry: Tensor) -> Tensor:
        def product(kind: str) -> Tensor:
            own = name.replace(".lora_E.", f".lora_{kind}.")
            if own not in self._importance:
                return torch.zeros(1, 1, device=entry.device)
            return self._importance[own] * self._uncertainty[own]

        made = product("E")[:, 0] + product("A").mean(1) + product("B").mean(0)
        return made.expand(len(entry))


def budget_at(share: float, initial: int, target: int) -> int:
    """Ranks that are left when this share of the steps between warm-up and the end is done.

    Example:
        >>> [budget_at(share, 120, 80) for share in (0.0, 0.5, 1.0)]
        [120, 85, 80]
    """
    return target + int((initial - target) * (1 - share) ** 3)


def _factors(learner: SupportsLearning) -> dict[str, Tensor]:
    trained = {name: p for name, p in named_parameters(learner.model) if p.requires_grad}
    return {name: p for name, p in trained.items() if ".lora_" in name}


def _entries(learner: SupportsLearning) -> dict[str, Tensor]:
    return {name: p for name, p in _factors(learner).items() if ".lora_E." in name}


@torch.no_grad()
def _zero(entries: Mapping[str, Tensor], kept: Mapping[str, Tensor]) -> None:
    for name, entry in entries.items():
        entry.masked_fill_(~kept[name][:, None].to(entry.device), 0.0)
