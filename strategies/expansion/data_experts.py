"""Data experts: one for each cluster of what texts ask for, mixed for each query by its words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from clplat.config.space import Int
from clplat.data.records import Example
from clplat.errors import UserError
from clplat.mechanisms.expert_scores import centres_of
from clplat.mechanisms.routing import Experts, Router, Routing
from clplat.models.frozen import weights_fixed
from clplat.parts.adapters._base import Adapter
from clplat.parts.adapters.peft import LoRA
from clplat.parts.samplers._base import Embed, Sampler
from clplat.parts.samplers.shuffled import shuffled_batches
from clplat.retriever import ComposedRetriever
from clplat.training.phases import Phase
from clplat.training.strategy import Strategy, SupportsLearning

__all__ = ["DataExperts"]

_KERNEL = Routing(by="kernel", distance="euclidean", top=0, temperature=1.0, inside=None)


class DataExperts(Strategy):
    """MoDE: an adapter for each cluster of texts; scores are averaged by how near a query's words are.

        score(query, item) = sum_e w_e(text) cos(q_e, g_e),  w = softmax(sum over fine centres of exp(-d / s))

    An experience clusters the texts of its examples and trains an expert on each cluster alone, so that the
    negatives of a batch are alike; within a cluster fine centres tell the router what the expert knows. No
    router is trained, and new experts leave the old ones and their centres as they are.

    An item is stored as what every expert makes of it, side by side: indexes grow with the experts. Texts
    alone are compared by the mean of all.

    Args:
        clusters: of each experience, an expert each.
        adapter: what an expert is; default `LoRA` of rank 8.
        routing: how a query's text weighs them; by default kernels around fine centres, all experts mixed.
        epochs: of each expert; ``train.epochs`` unless given.

    References:
        Ma et al., "MoDE: CLIP Data Experts via Clustering", CVPR 2024, arXiv 2404.16030.

    Numbers:
        ``experts``: how many there are; ``smallest`` and ``largest``: examples of a newest cluster.

    Needs:
        A `ComposedRetriever` without another adapter and without a head, scored by the dot product, and
        examples with a text. A composer with weights is trained by the first expert and frozen afterwards.

    Example:
        >>> [phase.name for phase in DataExperts(clusters=2).phases(None)]
        ['expert 0', 'expert 1']
    """

    any_module = False
    stores = "weights"
    brings = ("adapter", "prompt", "head")
    routes = True
    state = ("_labels", "_active")

    def __init__(
        self,
        clusters: Annotated[int, Int(1, 4)] = 2,
        adapter: Adapter | None = None,
        routing: Routing = _KERNEL,
        epochs: int | None = None,
    ) -> None:
        if clusters < 1:
            raise ValueError(f"clusters must be at least 1, not {clusters}")
        if adapter is not None and adapter.trains_base:
            raise ValueError(f"adapter {type(adapter).__name__} trains the base, which all experts share")
        self.clusters, self.adapter, self.routing, self.epochs = clusters, adapter, routing, epochs
        self.expert = adapter if adapter is not None else LoRA(r=8, lora_alpha=16, targets="both")
        self.router = Router(routing)
        self._labels: list[int] = []
        self._active = ""
        self._trained: dict[str, set[str]] = {}

    def before_experience(self, learner: SupportsLearning, experience: Any) -> None:
        retriever = _retriever(learner)
        if not self.router.names and any(p.requires_grad for p in retriever.backbone.parameters()):
            raise UserError(
                "a strategy of experts brings its own adapters: use it with --adapter none and no prompt"
            )
        if self.router.names:
            retriever.requires_grad_(False)
        features = self._texts(retriever, experience.dataset)
        self._labels = _clusters(features, self.clusters)
        number = len({*self.router.owners})
        for cluster in range(self.clusters):
            rows = [i for i, label in enumerate(self._labels) if label == cluster]
            self.router.add(f"domain{number}_{cluster}", features[rows], owner=number)
        self._attach(retriever, self.router.names[-self.clusters :])

    def phases(self, experience: Any) -> Sequence[Phase]:
        return [
            Phase(f"expert {e}", self.epochs, _Trains(self, e), sampler=_OneCluster(self, e))
            for e in range(self.clusters)
        ]

    def before_epoch(self, learner: SupportsLearning) -> None:
        number = learner.progress.phase.rpartition(" ")[2] or "0"
        self._active = self.router.names[int(number) - self.clusters]
        self.expert.activate(_retriever(learner).backbone, self._active)

    def rebuild(self, learner: SupportsLearning) -> None:
        names, retriever = self.router.names, _retriever(learner)
        for first in range(0, len(names), self.clusters):
            retriever.requires_grad_(False)
            self._attach(retriever, names[first : first + self.clusters])
        if self._active:
            self.expert.activate(retriever.backbone, self._active)

    def numbers(self) -> dict[str, float]:
        sizes = [self._labels.count(cluster) for cluster in range(self.clusters)]
        return {"experts": len(self.router.names), "smallest": min(sizes), "largest": max(sizes)}

    def _attach(self, retriever: ComposedRetriever, names: Sequence[str]) -> None:
        """Experts of one experience, all of them trainable: a phase trains one."""
        retriever.experts = Experts(self.router, self.expert.activate, by_words=True)
        self._trained = {name: {*self.expert.attach(retriever.backbone, name)} for name in names}
        for name, parameter in retriever.backbone.named_parameters():
            if any(name in own for own in self._trained.values()):
                parameter.requires_grad_(True)

    @torch.no_grad()
    def _texts(self, retriever: ComposedRetriever, data: Any) -> Tensor:
        """Features (N, D) of what each example says, its query or else its target, under the bare base."""
        if self.router.names:
            self.expert.activate(retriever.backbone, None)
        said = [text for one in data for text in [one.query.text or one.target.text] if text is not None]
        if len(said) < len(data):
            raise UserError("data_experts clusters texts: every example needs one")
        with weights_fixed():
            chunks = [said[start : start + 256] for start in range(0, len(said), 256)]
            return torch.cat(
                [retriever.text_features(retriever.backbone.tokenize(part)).pooled for part in chunks]
            )


class _OneCluster(Sampler):
    """The examples of one cluster, in turn until there are as many steps as in a pass over all."""

    covers = False

    def __init__(self, strategy: DataExperts, cluster: int) -> None:
        self._strategy, self._cluster = strategy, cluster

    def batches(
        self, examples: Sequence[Example], size: int, draw: torch.Generator, embed: Embed
    ) -> list[list[int]]:
        labels = self._strategy._labels
        own = [i for i, label in enumerate(labels) if label == self._cluster] or [*range(len(examples))]
        found: list[list[int]] = []
        wanted = len(shuffled_batches(range(len(examples)), size, torch.Generator()))
        while len(found) < wanted:
            found += shuffled_batches(own, size, draw)
        return found[:wanted]


class _Trains:
    """Which tensors a phase trains: its expert's, and those outside the backbone in the first one."""

    def __init__(self, strategy: DataExperts, cluster: int) -> None:
        self._strategy, self._cluster = strategy, cluster

    def __call__(self, name: str) -> bool:
        own = self._strategy._trained[self._strategy.router.names[self._cluster - self._strategy.clusters]]
        inside = name.startswith("backbone.")
        return name.removeprefix("backbone.") in own if inside else self._cluster == 0


def _clusters(features: Tensor, count: int) -> list[int]:
    """The cluster of each row: that of its nearest centre, each of them with two rows at least.

    Raises:
        UserError: there are fewer than two rows for each.
    """
    if len(features) < 2 * count:
        raise UserError(f"{len(features)} examples make no {count} clusters of two: use fewer clusters")
    unit = normalize(features.float(), dim=-1)
    nearness = unit @ centres_of(unit, count).T
    labels = nearness.argmax(1)
    for cluster in range(count):
        while int((labels == cluster).sum()) < 2:  # one alone has no negatives: the nearest of a larger one
            free = (torch.bincount(labels, minlength=count)[labels] > 2) & (labels != cluster)
            labels[nearness[:, cluster].masked_fill(~free, -2.0).argmax()] = cluster
    found: list[int] = labels.tolist()
    return found


def _retriever(learner: SupportsLearning) -> ComposedRetriever:
    if not isinstance(learner.model, ComposedRetriever):
        raise UserError("a strategy of experts needs a ComposedRetriever as the model: it routes its queries")
    if learner.model.head is not None or not learner.model.scorer.single:
        raise UserError(
            "data_experts stores what each expert makes of an item: use --head none, --scorer dot"
        )
    return learner.model
