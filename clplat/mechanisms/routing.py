"""Routers: which experts an input goes through, by its features alone and never by the name of its domain."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from clplat.config.space import Choice, Float, Int
from clplat.mechanisms.examples import tensor_bytes
from clplat.mechanisms.expert_scores import (
    KEPT,
    centre_scores,
    centres_of,
    distances,
    selector,
    subspace_of,
    subspace_scores,
)
from clplat.mechanisms.experts import top_k_gates

__all__ = ["Experts", "Router", "Routing", "weigh"]


@dataclass(frozen=True)
class Routing:
    """How inputs are routed.

    Args:
        by: what tells how near an input is to an expert: its mean direction (``key``), the nearest of its
            centres (``centroid``), all of them (``energy``, ``kernel``), how well the principal directions of
            its inputs reconstruct it (``subspace``), or a classifier over the experts (``learned``).
        centres: of each expert; of a subspace, its dimensions.
        distance: to a centre.
        spread: of the exponentials of distances in ``energy`` and ``kernel``.
        top: experts that an input goes through, those with the best scores; 0 for all.
        temperature: of the softmax over their scores that weighs them.
        inside: the share of its own training inputs that is within an expert's range. An input that its best
            expert has out of range goes to none, the bare base; None for no range.

    Raises:
        ValueError: a number that is out of its range.
    """

    by: Annotated[
        Literal["key", "centroid", "energy", "kernel", "subspace", "learned"],
        Choice("key", "centroid", "energy", "subspace", "learned"),
    ] = "centroid"
    centres: Annotated[int, Int(1, 16, log=True)] = 4
    distance: Literal["cosine", "euclidean", "manhattan"] = "cosine"
    spread: Annotated[float, Float(0.02, 1.0, log=True)] = 0.2
    top: int = 1
    temperature: Annotated[float, Float(0.01, 1.0, log=True)] = 0.1
    inside: float | None = 0.99

    def __post_init__(self) -> None:
        if self.by not in ("key", "centroid", "energy", "kernel", "subspace", "learned"):
            raise ValueError(f"by is '{self.by}'; allowed: key, centroid, energy, kernel, subspace, learned")
        if self.distance not in ("cosine", "euclidean", "manhattan"):
            raise ValueError(f"distance is '{self.distance}'; allowed: cosine, euclidean, manhattan")
        if self.centres < 1 or self.top < 0 or not min(self.spread, self.temperature) > 0:
            raise ValueError(
                "needs centres >= 1, top >= 0, spread and temperature > 0, "
                f"not {self.centres}, {self.top}, {self.spread} and {self.temperature}"
            )
        if self.inside is not None and not 0 < self.inside <= 1:
            raise ValueError(f"inside must be in (0, 1] or none, not {self.inside}")


class Router:
    """Chooses experts for inputs; each expert is described once, by the inputs that it is trained on.

    Adding an expert leaves the descriptions of the others as they are; a classifier (``learned``) is fitted
    anew to what is kept of the inputs of all, at most 256 rows each.

    Args:
        routing: see `Routing`.

    Attributes:
        names: of the experts, in their order.
        owners: the experience that each was trained in, which tells right choices from wrong ones and
            chooses nothing.
        limits: the least score within the range of each; empty where experts have no range.

    References:
        Key matching: L2P, arXiv 2112.08654, and DualPrompt, arXiv 2204.04799. Nearest centre of frozen
        features: S-Prompts, arXiv 2207.12819. Kernels around fine centres: MoDE, arXiv 2404.16030. Energy:
        Liu et al., "Energy-based Out-of-distribution Detection", arXiv 2010.03759. Autoencoders, and inputs
        from outside to the frozen model: MoE-Adapters, arXiv 2403.11549. A trained selector: ConPET, arXiv
        2309.14763.

    Example:
        >>> router = Router(Routing(centres=1, inside=None))
        >>> router.add("x", torch.tensor([[1.0, 0.1], [1.0, -0.1]]))
        >>> router.add("y", torch.tensor([[0.1, 1.0], [-0.1, 1.0]]))
        >>> router.choice(torch.tensor([[3.0, 1.0], [1.0, 3.0]])).tolist()
        [0, 1]
    """

    def __init__(self, routing: Routing = Routing()) -> None:
        self.routing = routing
        self.names: list[str] = []
        self.owners: list[int] = []
        self.limits: list[float] = []
        self.experts: list[dict[str, Tensor]] = []
        self._selector: Tensor | None = None

    def add(self, name: str, features: Tensor, owner: int | None = None) -> None:
        """Describe the next expert by the features (N, D) of its training inputs.

        Args:
            owner: the experience that trains it; by default every experience trains one.
        """
        unit = F.normalize(features.detach().float(), dim=-1)
        self.owners.append(len(self.names) if owner is None else owner)
        self.names.append(name)
        self.experts.append(self._described(unit))
        self._selector = None
        if self.routing.inside is not None:
            self._set_limits(unit, self.routing.inside)

    def scores(self, features: Tensor) -> Tensor:
        """How near inputs with features (B, D) are to the experts, (B, N), more being nearer."""
        unit = F.normalize(features.float(), dim=-1)
        if self.routing.by == "learned":
            return F.pad(unit, (0, 1), value=1.0) @ self._fitted().to(unit.device).T
        return torch.stack([self._score(unit, expert) for expert in self.experts], dim=1)

    def weights(self, features: Tensor) -> Tensor:
        """The share (B, N) of each expert in inputs: rows of sum 1, or of zeros for the bare base."""
        scores = self.scores(features)
        best, choice = scores.max(1)
        shares = weigh(scores, self.routing.top, self.routing.temperature)
        if not self.limits:
            return shares
        return shares * (best >= torch.tensor(self.limits, device=best.device)[choice])[:, None]

    def choice(self, features: Tensor) -> Tensor:
        """The expert (B,) of the largest share; -1 for the bare base."""
        share, best = self.weights(features).max(1)
        return torch.where(share > 0, best, -1)

    def state_dict(self) -> dict[str, Any]:
        """Everything that it learnt."""
        names = ("names", "owners", "limits", "experts")
        return {name: list(getattr(self, name)) for name in names}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        for name, value in state.items():
            setattr(self, name, list(value))
        self._selector = None

    def bytes(self) -> int:
        """What the descriptions take."""
        return tensor_bytes(self.experts)

    def _described(self, unit: Tensor) -> dict[str, Tensor]:
        by, count = self.routing.by, self.routing.centres
        if by == "learned":
            spaced = torch.linspace(0, len(unit) - 1, min(KEPT, len(unit)), device=unit.device).long()
            return {"rows": unit[spaced]}
        if by == "subspace":
            mean, directions = subspace_of(unit, count)
            return {"mean": mean, "directions": directions}
        return {"centres": centres_of(unit, 1 if by == "key" else count)}

    def _score(self, unit: Tensor, expert: dict[str, Tensor]) -> Tensor:
        held = {name: tensor.to(unit.device) for name, tensor in expert.items()}
        if self.routing.by == "subspace":
            return subspace_scores(unit, **held)
        distance = distances(unit, held["centres"], self.routing.distance)
        return centre_scores(distance, self.routing.by, self.routing.spread)

    def _set_limits(self, unit: Tensor, inside: float) -> None:
        """The range of the newest expert, or of all where its coming moves their scores."""
        moved = self.routing.by == "learned"
        rows = [expert["rows"] for expert in self.experts] if moved else [unit]
        first = len(self.experts) - len(rows)
        own = [self.scores(part)[:, first + i] for i, part in enumerate(rows)]
        self.limits[first:] = [-float((-scores).quantile(inside)) for scores in own]

    def _fitted(self) -> Tensor:
        if self._selector is None:
            self._selector = selector([expert["rows"] for expert in self.experts])
        return self._selector


@dataclass
class Experts:
    """The experts of a model, and the router between them.

    Args:
        router: says who.
        activate: switches a backbone to the expert of that name; with ``None`` to the bare base.
        by_words: a query's text is routed, not its picture. An item, of which no query is known, is what all
            experts make of it, side by side, and so is a query, weighed by its shares.
        merges: where several have a share in an input, their weights are averaged; False: their embeddings.
    """

    router: Router
    activate: Callable[[Any, str | None], None]
    _: KW_ONLY
    by_words: bool = False
    merges: bool = False


def weigh(scores: Tensor, top: int, temperature: float) -> Tensor:
    """Softmax (B, N) of scores over the ``top`` largest of each row, 0 for all; the others are 0.

    Example:
        >>> weigh(torch.tensor([[1.0, 3.0, 3.0]]), top=2, temperature=1.0).tolist()
        [[0.0, 0.5, 0.5]]
    """
    return top_k_gates(scores / temperature, min(top or scores.shape[1], scores.shape[1]))
