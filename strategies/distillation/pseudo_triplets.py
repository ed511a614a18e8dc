"""Pseudo triplets: a domain without answers is learnt from the surest finds of the model itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from clplat.config.space import Choice, Float, Int
from clplat.data.items import Item, Picture
from clplat.errors import UserError
from clplat.mechanisms.caches import surest
from clplat.mechanisms.expert_scores import centres_of
from clplat.models.outputs import as_outputs
from clplat.parts.losses.info_nce import info_nce
from clplat.parts.samplers._base import Embed, Sampler
from clplat.parts.samplers.shuffled import Shuffled
from clplat.randomness import seeded
from clplat.retriever import ComposedRetriever
from clplat.training.phases import Phase
from clplat.training.strategy import Strategy, SupportsLearning

__all__ = ["PseudoTriplets"]


class PseudoTriplets(Strategy):
    """Trains on triplets whose answers are what the model finds first for its surest queries.

    No label is read. All pictures of the domain are ranked for each query, without the query's own. The
    answer is the first, and its confidence ``max softmax(s / temperature)``. Queries fall into ``clusters``
    by their texts, and of each cluster the K most confident are taken, so that easy changes do not crowd out
    the others.

    ``rule``: ``fixed`` looks once, with the model as the domain found it, and takes ``shots`` (FPL);
    ``refreshed`` looks anew in every epoch with the model of then (IFPL); ``growing`` as well, and
    ``K_e = (e + 1) / epochs * N / clusters``, so that the last epoch has all of the data (GRIP). A pass is as
    long as one over all data whatever K: what has an answer comes again.

    Args:
        rule: ``fixed``, ``refreshed`` or ``growing``.
        shots: K, but for ``growing``.
        clusters: of texts, the classes of the paper.
        temperature: of the cosines, for the confidence.

    Raises:
        ValueError: another rule, no shot, no cluster, no temperature.

    References:
        Menghini et al. 2023 (FPL, IFPL, GRIP), Enhancing CLIP with CLIP: Exploring Pseudolabeling for
        Limited-Label Prompt Tuning, NeurIPS 2023, arXiv 2306.01669.

    Numbers:
        ``taken``, the share of queries with an answer; ``right``, the share of these answers that show what
        they should; ``spread``, its standard deviation over the clusters. Labels are read for these alone.

    Needs:
        A `ComposedRetriever`, and epochs. A step embeds its queries twice: with the batch, whose answers
        nobody looks at, and with the answers that were found.

    Relations:
        `PseudoPairs` takes answers of the batch, on which two frozen rankers agree.

    Example:
        >>> PseudoTriplets(rule="fixed", shots=4).shots
        4
    """

    any_module = False
    replaces_task_loss = True
    terms = ("pseudo_triplets",)
    shares = False  # what this process trains on
    state = ("_answers", "_numbers")

    def __init__(
        self,
        rule: Annotated[
            Literal["fixed", "refreshed", "growing"], Choice("fixed", "refreshed", "growing")
        ] = "growing",
        shots: Annotated[int, Int(4, 64, log=True)] = 16,
        clusters: Annotated[int, Int(1, 32, log=True)] = 8,
        temperature: Annotated[float, Float(0.01, 0.2, log=True)] = 0.05,
    ) -> None:
        if rule not in ("fixed", "refreshed", "growing"):
            raise ValueError(f"rule is '{rule}'; allowed: fixed, refreshed, growing")
        if min(shots, clusters) < 1 or not temperature > 0:
            raise ValueError(
                "shots and clusters must be at least 1 and temperature above 0, not "
                f"{shots}, {clusters} and {temperature}"
            )
        self.rule, self.shots, self.clusters, self.temperature = rule, shots, clusters, temperature
        #: Name of each query that has an answer -> key of the picture.
        self._answers: dict[str, str] = {}
        self._numbers: dict[str, float] = {}
        self._pictures: dict[str, Picture] = {}
        self._examples: dict[str, Any] = {}

    def before_experience(self, learner: SupportsLearning, experience: Any) -> None:
        if not isinstance(learner.model, ComposedRetriever):
            raise UserError("pseudo_triplets needs a ComposedRetriever as the model, to find answers")
        self._answers, self._numbers, self._pictures, self._examples = {}, {}, {}, {}

    def phases(self, experience: Any) -> Sequence[Phase]:
        return [Phase(sampler=_WithAnswers(self))]

    def before_epoch(self, learner: SupportsLearning) -> None:
        self._read(learner)
        if self._answers and self.rule == "fixed":
            return
        examples = [
            one for one in self._examples.values() if one.query.picture is not None and one.query.text
        ]
        if not examples:
            raise UserError("pseudo_triplets needs queries of a picture with a text")
        rows, confidence = self._found(learner, examples)
        said = learner.embed([one.query.text for one in examples])
        cluster = (said @ centres_of(said, self.clusters).T).argmax(1)
        taken = surest(confidence, cluster, self._limit(learner, len(examples)))
        keys = [*self._pictures]
        self._answers = {examples[i].id: keys[rows[i]] for i in taken.tolist()}
        self._numbers = self._measured(examples, cluster.tolist())

    def _limit(self, learner: SupportsLearning, count: int) -> int:
        if self.rule != "growing":
            return self.shots
        done = (learner.progress.epoch + 1) / max(learner.progress.epochs, 1)
        return max(1, round(min(done, 1.0) * count / self.clusters)) if done < 1 else count

    def _read(self, learner: SupportsLearning) -> None:
        """The examples and the pictures of this experience, by name."""
        if self._examples:
            return
        data = learner.data()
        for one in (data[i] for i in range(len(data))):
            self._examples[one.id] = one
            for item in (one.query, one.target):
                if item.picture is not None:
                    self._pictures.setdefault(item.picture.key, item.picture)

    def _found(self, learner: SupportsLearning, examples: Sequence[Any]) -> tuple[list[int], Tensor]:
        """The first picture of each query, as its place, and how sure the model is."""
        asked = learner.embed([one.query for one in examples])
        held = learner.embed([*self._pictures.values()])
        place = {key: i for i, key in enumerate(self._pictures)}
        logits = asked @ held.T / self.temperature
        own = torch.tensor([place[one.query.picture.key] for one in examples], device=logits.device)
        logits = logits.scatter(1, own[:, None], -torch.inf)
        sure, rows = logits.softmax(1).max(1)
        return rows.tolist(), sure

    def _measured(self, examples: Sequence[Any], cluster: Sequence[int]) -> dict[str, float]:
        shows = {one.target.picture.key: one.label for one in examples if one.target.picture is not None}
        right: dict[int, list[float]] = {}
        for one, group in zip(examples, cluster, strict=True):
            if one.id in self._answers:
                found = self._answers[one.id]
                right.setdefault(group, []).append(float(shows.get(found) == one.label))
        shares = torch.tensor([sum(part) / len(part) for part in right.values()])
        every = [value for part in right.values() for value in part]
        return {
            "taken": len(self._answers) / len(examples),
            "right": sum(every) / len(every),
            "spread": float(shares.std(correction=0)),
        }

    def numbers(self) -> dict[str, float]:
        return self._numbers

    def loss(self, learner: SupportsLearning, batch: Any, outputs: Any) -> dict[str, Tensor]:
        self._read(learner)
        own: Any = as_outputs(outputs)
        idle = 0.0 * (own.query.sum() + own.candidates.sum())
        found = [self._pseudo(name) for name in batch.ids if name in self._answers]
        if len({one.label for one in found}) < 2:  # nothing to tell apart
            return {"pseudo_triplets": idle}
        made = learner.collate(found).to(own.query.device)
        place = learner.progress
        with seeded(0, "pseudo triplets", place.experience, place.step):  # of dropout in a composer
            pairs: Any = as_outputs(learner.predict(made))
        logits = pairs.scores(scale=pairs.scale)
        valid, positive = made.valid.to(logits.device), made.positive.to(logits.device)
        return {"pseudo_triplets": info_nce(logits, positive=positive, valid=valid) + idle}

    def _pseudo(self, name: str) -> Any:
        """The example with the answer that was found, which is all that it is called."""
        key = self._answers[name]
        target = Item.of(self._pictures[key])
        return replace(self._examples[name], target=target, label=key, negatives=())


class _WithAnswers(Sampler):
    """Batches of those examples that have an answer, again until a pass is as long as one over all data."""

    covers = False

    def __init__(self, strategy: PseudoTriplets) -> None:
        self.strategy = strategy

    def batches(
        self, examples: Sequence[Any], size: int, draw: torch.Generator, embed: Embed
    ) -> list[list[int]]:
        answers = self.strategy._answers
        rows = [i for i, one in enumerate(examples) if not answers or one.id in answers]
        count, chosen = len(Shuffled().batches(examples, size, draw, embed)), list[list[int]]()
        while len(chosen) < count:
            chosen += Shuffled().batches([examples[i] for i in rows], size, draw, embed)
        return [[rows[i] for i in batch] for batch in chosen[:count]]
