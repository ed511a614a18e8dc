"""Informed LoRA: A starts from what a layer is given, and layers whose inputs are richer get more ranks."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from clplat.config.space import Float, Int
from clplat.errors import UserError
from clplat.mechanisms.example_gradients import spread
from clplat.mechanisms.growth import grow_at, prune
from clplat.mechanisms.layer_inputs import covariances_at
from clplat.mechanisms.low_rank import LowRank, LowRankSum, low_rank_layers
from clplat.models.backbone import Backbone
from clplat.parts.adapters._growing import Growing, grown_backbone
from clplat.training.strategy import Strategy, SupportsLearning

__all__ = ["InformedLoRA", "ranks_by_variance"]

_NAME = "informed"


class InformedLoRA(Strategy):
    """EVA: one LoRA for the stream, which starts from the inputs of the layers in the first domain.

    ``A = V_k^T``, the leading right singular vectors of all inputs of a layer; B is zero

    The budget is r ranks times the number of layers. It goes to the directions whose share in the squares of
    their own layer's inputs is largest, of all layers together.

    Args:
        lora: its rank is the average over the layers, its magnitude ``alpha / r`` that of all.
        widest: a layer gets at most this multiple of r; 1 gives all the same.
        examples: of the first domain that inputs are taken from, spread evenly over it.
        batch_size: of that pass.

    References:
        Paischer et al., "Parameter Efficient Fine-tuning via Explained Variance Adaptation" (EVA), NeurIPS
        2025, arXiv 2410.07170.

    Numbers:
        ``ranks``: of a layer, on average; ``layers``: that have a rank at all.

    Needs:
        A `ComposedRetriever` without another adapter, a learner with ``predict`` and ``data``. A composer
        with weights is trained on.

    Relations:
        `InfLoRA` fixes A to such directions, in every domain anew; here A is trained from there on.

    Example:
        >>> InformedLoRA(widest=1.0).state_dict()
        {'ranks': {}}
    """

    any_module = False
    plain = "lora"
    brings = ("adapter", "prompt")
    state = ("_ranks",)

    def __init__(
        self,
        lora: Growing = Growing(),  # noqa: B008
        widest: Annotated[float, Float(1.0, 4.0)] = 2.0,
        examples: Annotated[int, Int(32, 512, log=True)] = 128,
        batch_size: int = 64,
    ) -> None:
        if not (widest >= 1 and examples >= 1 and batch_size >= 1):
            raise ValueError(
                f"widest, examples and batch_size must be at least 1, not {widest}, {examples}, {batch_size}"
            )
        self.lora, self.widest, self.examples, self.batch_size = lora, widest, examples, batch_size
        self._ranks: dict[str, int] = {}

    def before_experience(self, learner: SupportsLearning, experience: Any) -> None:
        if self._ranks:
            return
        backbone = grown_backbone(learner.model, "informed_lora", first=True)
        # Layers with a change are computed, not taken from what is kept of frozen towers.
        places = self._grow(backbone, dict.fromkeys(self.lora.layers(backbone), 1))
        inputs = covariances_at(learner, places, spread(experience.dataset, self.examples), self.batch_size)
        if not inputs:
            raise UserError("informed_lora: no input reached the layers of adapter 'lora'")
        prune(backbone, _NAME)
        found = {name: torch.linalg.eigh(square.double()) for name, square in inputs.items()}
        shares = {name: values.flip(0).clamp_min(0) / values.sum() for name, (values, _) in found.items()}
        self._ranks = ranks_by_variance(shares, self.lora.r, int(self.lora.r * self.widest))
        for name, layer in self._grow(backbone, self._ranks).items():
            rows = found[name][1].flip(1)[:, : self._ranks[name]].T
            with torch.no_grad():
                layer.newest().down.copy_(rows)

    def rebuild(self, learner: SupportsLearning) -> None:
        if self._ranks:
            self._grow(grown_backbone(learner.model, "informed_lora", first=True), self._ranks)

    def numbers(self) -> dict[str, float]:
        if not self._ranks:
            return {}
        return {"ranks": sum(self._ranks.values()) / len(self._ranks), "layers": len(self._ranks)}

    def _grow(self, backbone: Backbone, ranks: Mapping[str, int]) -> dict[str, LowRankSum]:
        magnitude = self.lora.alpha / self.lora.r

        def make(rank: int, layer: nn.Module) -> LowRank:
            if not isinstance(layer, nn.Linear):
                raise UserError(f"informed_lora changes linear layers, not a {type(layer).__name__}")
            return LowRank(layer, rank, magnitude)

        makers = {name: partial(make, rank) for name, rank in ranks.items()}
        grow_at(backbone, makers, _NAME, "low rank", {"r": self.lora.r}, LowRankSum)
        return low_rank_layers(backbone)


def ranks_by_variance(shares: Mapping[str, Tensor], average: int, most: int) -> dict[str, int]:
    """Ranks of the layers: the directions with the largest shares of all, ``average`` of a layer.

    Args:
        shares: of each direction in its layer's inputs, from the largest on; average: ranks of a layer.
        most: ranks that a layer may have. Layers without one are left out.

    Example:
        >>> ranks_by_variance({"a": torch.tensor([0.9, 0.1]), "b": torch.tensor([0.5, 0.4])}, 1, 2)
        {'a': 1, 'b': 1}
    """
    ordered = [(-float(share), name) for name, row in shares.items() for share in row[:most]]
    kept = [name for _, name in sorted(ordered, key=lambda entry: entry[0])[: average * len(shares)]]
    return {name: kept.count(name) for name in shares if name in kept}
