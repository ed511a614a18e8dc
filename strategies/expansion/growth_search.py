"""Growth by search: before each domain several growths are tried for a moment, and the best one is kept."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product
from typing import Annotated, Any

import torch
from torch import nn

from clplat.config.space import Float, Int
from clplat.mechanisms.low_rank import LowRankSum, low_rank_layers, prune
from clplat.parts.adapters._growing import Growing, grown_backbone
from clplat.randomness import generator, seeded
from clplat.training.strategy import Strategy, SupportsLearning

__all__ = ["GrowthSearch"]


class GrowthSearch(Strategy):
    """The model grows with every domain by as much, and where, as the domain's data ask for.

    Each pair of a rank and a kind of layers is a candidate: a low-rank change beside those that are there,
    zero at first, so that growing changes nothing. It is trained alone for ``steps`` batches and scored by
    the task's loss of examples held out from them; the best one grows anew. What is there is inherited with
    momentum, ``theta = momentum * theta + (1 - momentum) * theta_fresh``: 1 preserves the function, less
    leaves a local minimum. Then the whole grown model is trained.

    Args:
        ranks: that are tried.
        layers: kinds of layers that are tried: ``mlp``, ``attention`` or ``both``.
        steps: batches that a candidate is trained on; 0 takes the first candidate.
        batch_size: examples of each.
        rate: learning rate of a candidate.
        held_out: share of the domain's examples that score the candidates; they are trained on afterwards.
        price: that a million parameters add to a candidate's loss.
        momentum: of what is inherited.

    Raises:
        ValueError: no candidate, or a number out of its range.

    References:
        Deng et al., "GrowCLIP: Data-aware Automatic Model Growing for Large-scale Contrastive Language-Image
        Pre-training", ICCV 2023, arXiv 2308.11331.

    Numbers:
        ``rank`` and ``parameters`` of the newest growth; ``loss`` of the held-out examples that chose it.

    Needs:
        A `ComposedRetriever` without another adapter. A composer with weights is trained on. What was chosen
        is in ``grown``: rank, layers, parameters of the change, and the scores of all candidates.

    Relations:
        `SDLoRA` and `OrthogonalLoRA` grow by the same rank everywhere and freeze what is there.

    Example:
        >>> len(GrowthSearch(ranks=[2, 8]).candidates)
        4
    """

    any_module = False
    plain = "lora"
    brings = ("adapter", "prompt")
    state = ("grown",)

    def __init__(
        self,
        ranks: Sequence[int] = (2, 8),
        layers: Sequence[str] = ("mlp", "attention"),
        steps: Annotated[int, Int(1, 16, log=True)] = 4,
        batch_size: int = 32,
        rate: Annotated[float, Float(1e-4, 1e-2, log=True)] = 1e-3,
        held_out: float = 0.2,
        price: float = 0.0,
        momentum: Annotated[float, Float(0.5, 1.0)] = 0.9,
    ) -> None:
        kinds = ("mlp", "attention", "both")
        if not ranks or not layers or min(ranks) < 1 or not set(layers) <= set(kinds):
            raise ValueError(f"needs ranks of at least 1 and layers of {', '.join(kinds)}")
        if not (steps >= 0 and batch_size >= 2 and rate > 0 and 0 < held_out < 1 and price >= 0):
            raise ValueError(
                "steps and price must be at least 0, batch_size at least 2, rate above 0 and held_out in "
                f"(0, 1), not {steps}, {price}, {batch_size}, {rate} and {held_out}"
            )
        if not 0 <= momentum <= 1:
            raise ValueError(f"momentum must be in [0, 1], not {momentum}")
        self.ranks, self.layers, self.steps, self.batch_size = ranks, layers, steps, batch_size
        self.rate, self.held_out, self.price, self.momentum = rate, held_out, price, momentum
        self.candidates = [Growing(r, 2.0 * r, kind) for kind, r in product(layers, ranks)]
        self.grown: list[dict[str, Any]] = []

    def before_experience(self, learner: SupportsLearning, experience: Any) -> None:
        domain = len(self.grown)
        scores = self._scores(learner, experience.dataset, domain)
        best = min(range(len(scores)), key=scores.__getitem__) if scores else 0
        chosen = self.candidates[best]
        layers = chosen.grow(learner.model, domain, "growth_search")
        size = sum(p.numel() for p in _newest(layers))
        self.grown.append({"rank": chosen.r, "layers": chosen.targets, "parameters": size, "scores": scores})
        for layer in low_rank_layers(grown_backbone(learner.model, "growth_search", first=False)).values():
            self._inherit(layer, f"domain{domain}")

    def _scores(self, learner: SupportsLearning, data: Any, domain: int) -> list[float]:
        """The loss of held-out examples after each candidate's training; none where nothing is tried."""
        draw = generator(0, "growth", domain)
        rows = torch.randperm(len(data), generator=draw).tolist()
        held = math.ceil(self.held_out * len(rows))
        if not self.steps or len(rows) - held < 2 or len(self.candidates) == 1:
            return []
        judged = [data[i] for i in rows[:held]]
        learnt = [data[i] for i in rows[held:]]
        return [self._tried(learner, each, learnt, judged, domain) for each in self.candidates]

    def _tried(
        self, learner: SupportsLearning, candidate: Growing, learnt: list[Any], judged: list[Any], domain: int
    ) -> float:
        with seeded(0, "growth", domain):  # every candidate begins alike
            trained = _newest(candidate.grow(learner.model, domain, "growth_search"))
            optimizer = torch.optim.AdamW(trained, lr=self.rate)
            for step in range(self.steps):
                start = step * self.batch_size
                batch = learner.collate(
                    [learnt[i % len(learnt)] for i in range(start, start + min(self.batch_size, len(learnt)))]
                )
                loss = learner.task_loss(batch, learner.predict(batch))
                for parameter, slope in zip(
                    trained, torch.autograd.grad(loss, trained, allow_unused=True), strict=True
                ):
                    parameter.grad = slope
                optimizer.step()
        with torch.no_grad():
            losses = [learner.task_loss(*pair) for pair in learner.passes(judged, self.batch_size)]
        score = learner.averaged([torch.stack(losses).mean()])[0]
        prune(grown_backbone(learner.model, "growth_search", first=False), f"domain{domain}")
        return float(score) + self.price * sum(p.numel() for p in trained) / 1e6

    def numbers(self) -> dict[str, float]:
        found: dict[str, float] = {}
        for newest in self.grown[-1:]:
            found = {"rank": newest["rank"], "parameters": newest["parameters"]}
            found |= {"loss": min(newest["scores"])} if newest["scores"] else {}
        return found

    @torch.no_grad()
    def _inherit(self, layer: LowRankSum, newest: str) -> None:
        """Mix earlier changes with fresh ones, whose B is zero; all are trained."""
        for name, change in layer.changes.items():
            for key, factor in (("down", change.down), ("up", change.up)):
                assert isinstance(factor, nn.Parameter)
                factor.requires_grad_(True)
                if name == newest or self.momentum == 1:
                    continue
                fresh = torch.zeros_like(factor)
                if key == "down":
                    nn.init.kaiming_uniform_(fresh, a=math.sqrt(5))
                factor.lerp_(fresh, 1 - self.momentum)

    def rebuild(self, learner: SupportsLearning) -> None:
        for domain, chosen in enumerate(self.grown):
            candidate = Growing(chosen["rank"], 2.0 * chosen["rank"], chosen["layers"])
            candidate.grow(learner.model, domain, "growth_search")


def _newest(layers: dict[str, LowRankSum]) -> list[nn.Parameter]:
    """The trained factors of what has just grown."""
    return [p for layer in layers.values() for p in (layer.newest().down, layer.newest().up)]
