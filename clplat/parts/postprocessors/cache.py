"""A cache of training queries beside the towers: what was right for a query like this one counts more."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize, one_hot

from clplat.config.space import Choice, Float
from clplat.mechanisms.caches import (
    ClassGaussians,
    class_columns,
    class_shares,
    confident,
    divergences,
    looked_up,
    numbered,
    scaled_to,
    spread_weights,
    trained_keys,
)
from clplat.mechanisms.transduction import transduced
from clplat.parts.postprocessors._base import Banks, PostProcessor, Scored
from clplat.randomness import generator

__all__ = ["Cache"]


class Cache(PostProcessor):
    """Adds to ``q . g`` what training queries near q say of g; without any training, unless for ``steps``.

    With ``gives classes`` it is ``weight / 100 sum_i k(q, key_i) [g is of class i]``, and g is of a class
    where no item is nearer to the mean answer of that label: where classes are items of the gallery, 100
    times the score are the logits of the papers. With ``gives answers`` it is ``weight / 100 sum_i
    k(q, key_i) (answer_i - mean answer) . g``, which needs no classes and moves the query; a kernel that is
    the same for all keys moves nothing, as it adds the same to all classes.

    ``k = exp(-sharpness (1 - a))`` with ``a = (1 - answers) q . key + answers q . answer``. ``gaussian``
    takes in place of k the discriminant of one Gaussian a class, and for answers its softmax.

    Args:
        weight: of the cache beside logits of 100 times a cosine.
        sharpness: of the kernel.
        gives: ``classes`` or ``answers``.
        model: ``keys`` or ``gaussian``.
        answers: share of the answer in each key, between 0 and 1.
        likeness: what the class distributions of query and key do: nothing, multiply the affinity by up to 2
            (``times``), or count as keys of their own (``added``).
        semantic: weight of these where they are ``added``.
        shots: of each label so many keys, chosen without knowing labels, by what answers say; 0: all.
        labels: ``given``, or ``transduced``: keys have shares of classes that follow from the answers'
            cosines, a Gaussian a class and their neighbours, without knowing labels.
        steps: of training the keys, so that training queries find their labels' mean answers; 0: none.
        rate: of that.
        seed: of its order.

    Raises:
        ValueError: a setting out of range, or ones that exclude each other.

    References:
        Zhang et al. 2022 (Tip-Adapter), arXiv:2207.09519; Wang et al. 2024 (GDA-CLIP), arXiv:2402.04087;
        Long et al. 2024 (TFUP); Wang et al. 2024 (CapS-Adapter); Saha et al. 2025 (GTA-CLIP),
        arXiv:2501.06031, with ``transduced``.

    Example:
        >>> part = Cache(weight=100.0, sharpness=5.0, gives="answers")
        >>> keys, answers = torch.eye(2), torch.tensor([[0.0, 1.0], [0.0, -1.0]])
        >>> part.fit(Banks(keys, answers, answers=answers, labels=("shoe", "bag")))
        >>> moved, _ = part.map(Scored(keys), Scored(answers))  # each query moves to what answered it before
        >>> bool(moved[0, 1] > 0.9), bool(moved[1, 1] < 0.1)
        (True, True)
    """

    maps: ClassVar[bool] = True
    learns: ClassVar[bool] = True

    def __init__(
        self,
        weight: Annotated[float, Float(0.1, 100.0, log=True)] = 1.0,
        sharpness: Annotated[float, Float(0.5, 20.0, log=True)] = 5.5,
        gives: Annotated[Literal["classes", "answers"], Choice("classes", "answers")] = "classes",
        model: Literal["keys", "gaussian"] = "keys",
        answers: Annotated[float, Float(0.0, 1.0)] = 0.0,
        likeness: Literal["none", "times", "added"] = "none",
        semantic: float = 1.0,
        shots: int = 0,
        labels: Literal["given", "transduced"] = "given",
        steps: int = 0,
        rate: Annotated[float, Float(1e-4, 1e-2, log=True)] = 1e-3,
        seed: int = 0,
    ) -> None:
        known = {
            "labels": ("given", "transduced"),
            "gives": ("classes", "answers"),
            "model": ("keys", "gaussian"),
            "likeness": ("none", "times", "added"),
        }
        for name, value in (("labels", labels), ("gives", gives), ("model", model), ("likeness", likeness)):
            if value not in known[name]:
                raise ValueError(f"{name} must be {' or '.join(known[name])}, not '{value}'")
        if (
            not (0 <= weight < 1e6 and 0 < sharpness < 1e4 and 0 <= answers <= 1 and 0 <= semantic < 1e6)
            or shots < 0
        ):
            raise ValueError(
                "needs weight, semantic and shots of at least 0, sharpness above 0, answers in [0, 1], not "
                f"{weight}, {semantic}, {shots}, {sharpness} and {answers}"
            )
        if model == "gaussian" and (answers or likeness != "none" or shots):
            raise ValueError("model gaussian goes by labels alone: leave out answers, likeness and shots")
        if labels == "transduced" and (model == "gaussian" or shots):
            raise ValueError("transduced labels are shares of every key: leave out model and shots")
        if steps < 0 or not 0 < rate < 1:
            raise ValueError(f"needs steps of at least 0 and a rate in (0, 1), not {steps} and {rate}")
        if steps and (model, answers, likeness, shots, labels) != ("keys", 0.0, "none", 0, "given"):
            raise ValueError(
                "trained keys are plain ones: leave out model, answers, likeness, shots and labels"
            )
        self.labels, self.steps, self.rate, self.seed = labels, steps, rate, seed
        self.weight, self.sharpness, self.gives, self.model = weight, sharpness, gives, model
        self.answers, self.likeness, self.semantic, self.shots = answers, likeness, semantic, shots
        self._keys: Tensor | None = None

    def fit(self, banks: Banks) -> None:
        """Keep training queries with their answers, or what their classes' Gaussians are."""
        self._keys = None
        if banks.answers is None or not len(banks.answers):
            return
        own, count = numbered(banks.labels)
        keys, values = banks.queries.double(), banks.answers.double()
        #: (C, D), the mean answer of each label.
        self._prototypes = normalize(one_hot(own, count).double().T @ values, dim=1)
        if self.shots:
            chosen, own = confident(class_shares(keys, self._prototypes, 10.0), self.shots)
            keys, values = keys[chosen], self._prototypes[own]
        self._keys, self._values, self._own = keys, values, one_hot(own, count).double()
        if self.labels == "transduced":
            self._own = transduced(keys, class_shares(keys, self._prototypes, 100.0))
            self._values = self._own @ self._prototypes
        if self.steps:
            centred = (values - values.mean(0)) @ self._prototypes.T
            with torch.inference_mode(False), torch.enable_grad():
                self._keys = trained_keys(
                    keys,
                    (self._own if self.gives == "classes" else centred).clone(),
                    100.0 * (keys @ self._prototypes.T).clone(),
                    own,
                    weight=self.weight,
                    beta=self.sharpness,
                    steps=self.steps,
                    rate=self.rate,
                    draw=generator(self.seed, "keys of a cache"),
                )
        if self.model == "gaussian":
            held = ClassGaussians(count, keys.shape[1])
            held.add(keys, own)
            self._classifier = held.classifier()

    def map(self, queries: Scored, gallery: Scored) -> tuple[Tensor, Tensor]:
        """(Q, D) and the gallery, or (Q, D + C) and (G, D + C) with a column for each class."""
        if self._keys is None:
            return queries.rows.float(), gallery.rows.float()
        asked, weight = queries.rows.double(), self.weight / 100.0
        if self.gives == "answers":
            return (asked + weight * self._moved(asked)).float(), gallery.rows.float()
        said = self._discriminants(asked) if self.model == "gaussian" else self._said(asked, self._own)
        return class_columns(queries.rows, gallery.rows, weight * said, self._prototypes)

    def _moved(self, asked: Tensor) -> Tensor:
        """What answers add to each query (Q, D)."""
        if self.model == "gaussian":
            return self._discriminants(asked).softmax(1) @ (self._prototypes - self._prototypes.mean(0))
        return self._said(asked, self._values - self._values.mean(0))

    def _discriminants(self, asked: Tensor) -> Tensor:
        weights, bias = self._classifier
        return asked @ weights.T + bias

    def _said(self, asked: Tensor, values: Tensor) -> Tensor:
        """What the keys that each query is like say, (Q, C) or (Q, D)."""
        assert self._keys is not None
        affinity = (1.0 - self.answers) * asked @ self._keys.T + self.answers * asked @ self._values.T
        if self.likeness == "none":
            return looked_up(affinity, values, self.sharpness)
        shares = [class_shares(rows, self._prototypes, 10.0) for rows in (asked, self._keys)]
        apart = divergences(*shares)
        if self.likeness == "times":
            return looked_up(affinity * spread_weights(apart), values, self.sharpness)
        ratio = self.semantic / self.weight if self.weight else 0.0
        return looked_up(affinity, values, self.sharpness) - ratio * scaled_to(apart, affinity) @ values
