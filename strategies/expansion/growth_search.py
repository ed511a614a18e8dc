"""Growth by search: before each domain several growths are tried for a moment, and the best one is kept."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Annotated, Any, Literal

import torch
from torch import nn

from clplat.config.space import Float, Int
from clplat.mechanisms.growth import Change, Grown, grown_layers, prune
from clplat.mechanisms.halving import halving
from clplat.parts.adapters._growing import Blocks, Growing, MoreUnits, grown_backbone
from clplat.randomness import generator, seeded
from clplat.training.strategy import Strategy, SupportsLearning

__all__ = ["GrowthSearch"]


class GrowthSearch(Strategy):
    """The model grows with every domain by as much, and where, as the domain's data ask for.

    A candidate is a low-rank change of a kind of layers, more hidden units in all MLPs, or one more block
    behind each tower, beside what is there: none at first, so that growing changes nothing. It is trained
    alone for ``steps`` batches and scored by the task's loss of examples held out from them; while ``budget``
    pays for it, the better half is tried anew for twice as long. The best one grows. What is there is
    inherited with momentum, ``theta = momentum * theta + (1 - momentum) * theta_fresh``: 1 preserves the
    function, less leaves a local minimum. Then all that has grown is trained.

    Args:
        ranks: that are tried.
        layers: kinds of layers whose low-rank changes are tried: ``mlp``, ``attention`` or ``both``.
        units: numbers of hidden units that are tried.
        blocks: try a block as well.
        steps: batches that a candidate is trained on at first; 0 takes the first candidate.
        budget: batches of all tries of a domain; by default those of one round.
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
        ``rank``, ``units``, ``blocks`` and ``parameters`` of the newest growth, 0 where it is of another
        kind; ``loss`` of the held-out examples that chose it.

    Needs:
        A `ComposedRetriever` without another adapter. A composer with weights is trained on. What was chosen
        is in ``grown``: the candidate's number, what it is, its parameters, and the scores of all.

    Relations:
        `SDLoRA` and `OrthogonalLoRA` grow by the same rank everywhere and freeze what is there.

    Example:
        >>> len(GrowthSearch(ranks=[2, 8], units=[16], blocks=True).candidates)
        6
    """

    any_module = False
    plain = "lora"
    brings = ("adapter", "prompt")
    state = ("grown",)

    def __init__(
        self,
        ranks: Sequence[int] = (2, 8),
        layers: Sequence[str] = ("mlp", "attention"),
        units: Sequence[int] = (),
        blocks: bool = False,
        steps: Annotated[int, Int(1, 16, log=True)] = 4,
        budget: int | None = None,
        batch_size: int = 32,
        rate: Annotated[float, Float(1e-4, 1e-2, log=True)] = 1e-3,
        held_out: float = 0.2,
        price: float = 0.0,
        momentum: Annotated[float, Float(0.5, 1.0)] = 0.9,
    ) -> None:
        self.candidates = _candidates(ranks, layers, units, blocks)
        if not (steps >= 0 and batch_size >= 2 and rate > 0 and 0 < held_out < 1 and price >= 0):
            raise ValueError(
                "steps and price must be at least 0, batch_size at least 2, rate above 0 and held_out in "
                f"(0, 1), not {steps}, {price}, {batch_size}, {rate} and {held_out}"
            )
        if not 0 <= momentum <= 1:
            raise ValueError(f"momentum must be in [0, 1], not {momentum}")
        self.ranks, self.layers, self.units, self.blocks = ranks, layers, units, blocks
        self.steps, self.budget, self.batch_size = steps, budget, batch_size
        self.rate, self.held_out, self.price, self.momentum = rate, held_out, price, momentum
        self.grown: list[dict[str, Any]] = []

    def before_experience(self, learner: SupportsLearning, experience: Any) -> None:
        domain = len(self.grown)
        backbone = grown_backbone(learner.model, "growth_search", first=not domain)
        before = [p for p in backbone.parameters() if p.requires_grad]
        best, scores = self._study(learner, experience.dataset, domain)
        what, growth = self.candidates[best]
        trained = _newest(growth.grow(learner.model, domain, "growth_search"))
        size = sum(p.numel() for p in trained)
        self.grown.append({"candidate": best, **what, "parameters": size, "scores": scores})
        for layer in grown_layers(backbone).values():
            self._inherit(layer, f"domain{domain}")
        for parameter in before:
            parameter.requires_grad_(True)

    def _study(self, learner: SupportsLearning, data: Any, domain: int) -> tuple[int, list[float]]:
        """The best candidate, and held-out examples' loss after each one's training, if there is a choice."""
        draw = generator(0, "growth", domain)
        rows = torch.randperm(len(data), generator=draw).tolist()
        held = math.ceil(self.held_out * len(rows))
        if not self.steps or len(rows) - held < 2 or len(self.candidates) == 1:
            return 0, []
        judged = [data[i] for i in rows[:held]]
        learnt = [data[i] for i in rows[held:]]

        def score(candidate: int, steps: int) -> float:
            return self._tried(learner, candidate, steps, learnt, judged)

        return halving(len(self.candidates), self.steps, self.budget or 0, score)

    def _tried(
        self, learner: SupportsLearning, candidate: int, steps: int, learnt: list[Any], judged: list[Any]
    ) -> float:
        domain, growth = len(self.grown), self.candidates[candidate][1]
        with seeded(0, "growth", domain):  # every candidate begins alike
            trained = _newest(growth.grow(learner.model, domain, "growth_search"))
            optimizer = torch.optim.AdamW(trained, lr=self.rate)
            for step in range(steps):
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
            found = {key: newest.get(key, 0) for key in ("rank", "units", "blocks", "parameters")}
            found |= {"loss": newest["scores"][newest["candidate"]]} if newest["scores"] else {}
        return found

    @torch.no_grad()
    def _inherit(self, layer: Grown, newest: str) -> None:
        """Mix earlier changes with fresh ones, which are none."""
        for name, change in layer.changes.items() if self.momentum < 1 else ():
            if name != newest and isinstance(change, Change):
                fresh = change.fresh(layer.base_layer)
                for own, other in zip(change.parameters(), fresh.parameters(), strict=True):
                    own.lerp_(other, 1 - self.momentum)

    def rebuild(self, learner: SupportsLearning) -> None:
        for domain, chosen in enumerate(self.grown):
            self.candidates[chosen["candidate"]][1].grow(learner.model, domain, "growth_search")


def _candidates(
    ranks: Sequence[int], layers: Sequence[str], units: Sequence[int], blocks: bool
) -> list[tuple[dict[str, Any], Growing | MoreUnits | Blocks]]:
    """What each candidate is, in plain data, and what makes it grow."""
    kinds: tuple[Literal["mlp", "attention", "both"], ...] = ("mlp", "attention", "both")
    if not set(layers) <= set(kinds) or min([1, *ranks, *units]) < 1:
        raise ValueError(f"needs ranks and units of at least 1, and layers of {', '.join(kinds)}")
    found: list[tuple[dict[str, Any], Growing | MoreUnits | Blocks]] = [
        ({"rank": rank, "layers": name}, Growing(rank, 2.0 * rank, kind))
        for name, rank in product(layers, ranks)
        for kind in kinds
        if kind == name
    ]
    found += [({"units": count}, MoreUnits(count)) for count in units]
    found += [({"blocks": 1}, Blocks())] if blocks else []
    if not found:
        raise ValueError("needs ranks and layers, units, or blocks to choose from")
    return found


def _newest(layers: Mapping[str, Grown]) -> list[nn.Parameter]:
    """What is trained of what has just grown, layer by layer."""
    return [p for layer in layers.values() for p in layer.parameters() if p.requires_grad]
