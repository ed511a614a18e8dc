"""Diversified multiplet upcycling: MLPs trained on ever finer clusters become experts, then a router is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import torch

from clplat.config.space import Float, Int
from clplat.data.records import Example
from clplat.errors import UserError
from clplat.parts.adapters.upcycled import Upcycled
from clplat.parts.samplers._base import Embed, Sampler
from clplat.parts.samplers.clusters import Clusters
from clplat.parts.samplers.shuffled import clustered_batches, shuffled_batches
from clplat.retriever import ComposedRetriever
from clplat.training.phases import Phase
from clplat.training.strategy import Strategy, SupportsLearning

__all__ = ["MultipletUpcycling"]


class MultipletUpcycling(Strategy):
    """CLIP-MoE: experts that were made to differ, between which a router chooses.

    An experience has a phase for each expert but the first, which is the dense MLP as it was, and one for the
    router. In stage e the model has the MLPs of expert e alone, and nothing else is trained. Before it, the
    data are clustered by the features of expert e - 1, within the clusters found so far, and batches hold one
    cluster each: what told their examples apart before is of no more use, so that the expert must learn other
    features. Then all experts are in place, each token goes through ``k`` of them, and only the router (and a
    composer with weights) is trained, with the balance loss. Later experiences train the experts on.

    Args:
        experts: number of them in each block, the dense MLP among them.
        k: experts that a token goes through.
        towers: one tower or both.
        clusters: that queries, and targets, are put into at each stage.
        balance: weight of the load-balance loss.
        epochs: of a stage; ``train.epochs`` unless given.
        router_epochs: of the router's phase; ``train.epochs`` unless given.
        router_lr: learning rate of the router; that of the configuration unless given.

    Raises:
        ValueError: fewer than two experts, or sizes that do not fit.

    References:
        Zhang et al., "CLIP-MoE: Towards Building Mixture of Experts for CLIP with Diversified Multiplet
        Upcycling", arXiv 2409.19291.

    Needs:
        A `ComposedRetriever` without another adapter. Beside `Replay` the router and the experts see old
        examples as well.

    Example:
        >>> [phase.name for phase in MultipletUpcycling(experts=3).phases(None)]
        ['expert 1', 'expert 2', 'router']
    """

    any_module = False
    plain = "upcycled"
    brings = ("adapter", "prompt")
    state = ("_attached", "_stage", "_labels")

    def __init__(
        self,
        experts: Annotated[int, Int(2, 8)] = 4,
        k: int = 2,
        towers: Literal["both", "image", "text"] = "both",
        clusters: Annotated[int, Int(2, 8)] = 3,
        balance: Annotated[float, Float(1e-3, 1.0, log=True)] = 0.01,
        epochs: int | None = None,
        router_epochs: int | None = None,
        router_lr: float | None = None,
    ) -> None:
        if experts < 2:
            raise ValueError(f"experts must be at least 2, the dense MLP among them, not {experts}")
        self.experts, self.k, self.towers, self.clusters = experts, k, towers, clusters
        self.balance, self.epochs = balance, epochs
        self.router_epochs, self.router_lr = router_epochs, router_lr
        self.adapter = Upcycled(experts, k, towers=towers, balance=balance, z=0.0)
        self._miner = Clusters(clusters)
        self._attached, self._stage = False, 0
        self._labels: list[int] = []

    def before_experience(self, learner: SupportsLearning, experience: Any) -> None:
        if not self._attached:
            self._attach(learner)
        self._labels = []

    def _attach(self, learner: SupportsLearning) -> None:
        retriever = _retriever(learner)
        if any(parameter.requires_grad for parameter in retriever.backbone.parameters()):
            raise UserError(
                "strategy 'multiplet_upcycling' brings its adapter: use it with --adapter none and no prompt"
            )
        self.adapter.attach(retriever.backbone)
        for name, parameter in retriever.backbone.named_parameters():
            if ".each.0." in name:
                parameter.requires_grad_(False)
        self._attached = True

    def phases(self, experience: Any) -> Sequence[Phase]:
        sampler = _Within(self)
        stages = [
            Phase(f"expert {e}", self.epochs, _TrainsExpert(e), sampler=sampler)
            for e in range(1, self.experts)
        ]
        return [*stages, Phase("router", self.router_epochs, _trains_router, self.router_lr)]

    def before_epoch(self, learner: SupportsLearning) -> None:
        kind, _, number = learner.progress.phase.partition(" ")
        stage = int(number) if kind == "expert" else 0
        if stage == self._stage:
            return
        if stage:
            self._use(learner, stage - 1)
            found = self._cluster(learner, stage)
            before = self._labels or [0] * len(found)
            self._labels = [old * self.clusters**2 + new for old, new in zip(before, found, strict=True)]
        self._stage = stage
        self._use(learner, stage or None)

    def _cluster(self, learner: SupportsLearning, stage: int) -> list[int]:
        draw = learner.progress.generator(0, f"clusters {stage}")
        return self._miner.labels(learner.data(), draw, learner.embed)

    def _use(self, learner: SupportsLearning, expert: int | None) -> None:
        """Let all tokens go through one expert, or through those that the router chooses."""
        retriever = _retriever(learner)
        self.adapter.use(retriever.backbone, expert)
        if retriever.cache is not None:
            retriever.cache.refresh()

    def after_experience(self, learner: SupportsLearning, experience: Any) -> None:
        self._stage, self._labels = 0, []
        self._use(learner, None)

    def rebuild(self, learner: SupportsLearning) -> None:
        if self._attached:
            self._attach(learner)
            self._use(learner, self._stage or None)


class _Within(Sampler):
    """Batches within the clusters of the present stage; before there are any, shuffled ones."""

    def __init__(self, strategy: MultipletUpcycling) -> None:
        self._strategy = strategy

    def batches(
        self, examples: Sequence[Example], size: int, draw: torch.Generator, embed: Embed
    ) -> list[list[int]]:
        labels = self._strategy._labels
        if len(labels) != len(examples):
            return shuffled_batches(range(len(examples)), size, draw)
        return clustered_batches(labels, size, draw)


class _TrainsExpert:
    """Which tensors a stage trains: the MLPs of one expert."""

    def __init__(self, expert: int) -> None:
        self._part = f".each.{expert}."

    def __call__(self, name: str) -> bool:
        return ".experts." in name and self._part in name


def _trains_router(name: str) -> bool:
    return not name.startswith("backbone.") or name.endswith(".gate.weight")


def _retriever(learner: SupportsLearning) -> ComposedRetriever:
    if not isinstance(learner.model, ComposedRetriever):
        raise UserError("multiplet_upcycling needs a ComposedRetriever as the model: it changes its towers")
    return learner.model
