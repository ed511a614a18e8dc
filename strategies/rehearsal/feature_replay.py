"""Feature replay: generated features of earlier domains in place of stored examples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn

from clplat.config.space import Float, Int
from clplat.errors import UserError
from clplat.mechanisms.drift import drift
from clplat.mechanisms.feature_generators import Fitted, GeneratorName, fit_gaussian, fit_vae, sample
from clplat.mechanisms.late_features import NO_PART, late_features, late_loss, late_part
from clplat.mechanisms.memory.composition import enough
from clplat.mechanisms.parameter_groups import Group
from clplat.mechanisms.per_example import among_own_classes
from clplat.mechanisms.teacher import Teacher
from clplat.models.outputs import are_embeddings, as_outputs
from clplat.randomness import generator, seeded
from clplat.training.strategy import Strategy, SupportsLearning

__all__ = ["FeatureReplay"]


class FeatureReplay(Strategy):
    """A generator per domain makes features, and what stands behind the towers is trained on them.

    When a domain is over, a generator is fitted to the features that the composer reads of its examples,
    pooled reference and text, together with the target's embedding: a normal distribution, or the decoder of
    a variational autoencoder. ``when="beside"`` adds ``weight * InfoNCE`` of features of one earlier domain
    to every step; ``when="after"`` trains the composer on those of all domains for ``steps`` steps of its own
    after each experience (SLCA's alignment), while ``slow`` lowers the rate of the towers in training.
    Of a classifier there is a generator for each class, and its last linear layer is what is trained on them;
    ``after``, new examples compete among the classes of their batch alone, or their features would move to
    lower the logits of old classes, away from what was stored.
    Features stay those of the towers that made them: with towers that move far they grow old, unless their
    means are moved by the drift of the features of each new domain's own examples near them (``drift``).

    Args:
        generator: what makes features.
        when: in every step of later domains, or after each experience.
        batch_size: generated rows per step.
        weight: of the term beside the task's loss.
        rank: directions of a normal distribution's covariance; the other variance is independent.
        fitting: steps in which an autoencoder is fitted.
        steps: of the training after an experience.
        rate: learning rate of that training.
        slow: factor of the towers' learning rate.
        drift: how far around a mean examples count for its drift, in spreads of their features; None: means
            stay where they were. Keeps the weights of before a domain.
        seed: of all draws; by default the experiment's.
        temperature: of generated rows' logits, which are then divided by their length, or of a classifier by
            the mean of their lengths over the classes of each experience; None leaves them as they are.

    References:
        Zhang et al. 2023 (SLCA), arXiv 2303.05118; Wang et al. 2023 (SHIP), Improving Zero-Shot
        Generalization for CLIP with Synthesized Prompts, arXiv 2307.07397; drift: Yu et al. 2020 (SDC),
        Semantic Drift Compensation for Class-Incremental Learning, arXiv 2004.00440.

    Needs:
        A `ComposedRetriever` without a head whose composer reads pooled features, or a classifier that ends
        in a linear layer, with batches ``(x, y, ...)``.

    Relations:
        `Replay` stores the examples themselves.

    Example:
        >>> from strategies import FeatureReplay
        >>> FeatureReplay(when="after").terms
        ()
    """

    terms = ("features",)
    any_module = False
    stores = "statistics"
    reads_data = True
    state = ("_fitted",)

    def __init__(
        self,
        generator: GeneratorName = "gaussian",
        when: Literal["beside", "after"] = "beside",
        batch_size: int = 64,
        weight: Annotated[float, Float(0.1, 10.0, log=True)] = 1.0,
        rank: Annotated[int, Int(8, 256, log=True)] = 64,
        fitting: int = 200,
        steps: int = 100,
        rate: Annotated[float, Float(0.001, 0.1, log=True)] = 0.01,
        slow: float = 1.0,
        drift: Annotated[float | None, Float(0.05, 3.0, log=True)] = None,
        seed: int | None = None,
        temperature: Annotated[float | None, Float(0.02, 1.0, log=True)] = None,
    ) -> None:
        if not (weight >= 0 and rank >= 0 and fitting >= 0 and steps >= 0 and rate > 0 and slow >= 0):
            raise ValueError(
                "weight, rank, fitting, steps and slow must be at least 0 and rate above 0, "
                f"not {weight}, {rank}, {fitting}, {steps}, {slow} and {rate}"
            )
        self.generator, self.when, self.batch_size = generator, when, enough(batch_size)
        self.weight, self.rank, self.fitting, self.steps = weight, rank, fitting, steps
        if drift is not None and not drift > 0:
            raise ValueError(f"drift must be above 0, not {drift}")
        if temperature is not None and not temperature > 0:
            raise ValueError(f"temperature must be above 0, not {temperature}")
        self.rate, self.slow, self.drift, self.seed = rate, slow, drift, seed
        self.temperature = temperature
        vars(self)["terms"] = ("features",) if when == "beside" else ()
        self._fitted: dict[str, Fitted] = {}
        self._before = Teacher(which="previous")

    def before_experience(self, learner: SupportsLearning, experience: Any) -> None:
        if self.drift is not None:
            self._before.update(learner.model)

    def groups(self, names: Sequence[str]) -> Sequence[Group]:
        towers = [name for name in names if name.startswith("backbone.")]
        return [Group(towers, self.slow)] if towers and self.slow != 1.0 else []

    def loss(self, learner: SupportsLearning, batch: Any, outputs: Any) -> dict[str, Tensor]:
        if are_embeddings(outputs) and isinstance(late_part(learner.model), nn.Linear):
            raise UserError(NO_PART)
        if self.when == "after" and isinstance(logits := as_outputs(outputs), Tensor):
            return {"own_classes": among_own_classes(learner, batch, logits)}
        if self.when == "after" or not self._fitted:
            return {}
        return {"features": self.weight * self._generated_loss(learner, "beside", learner.progress.step)}

    def after_experience(self, learner: SupportsLearning, experience: Any) -> None:
        number, features = learner.progress.experience, late_features(learner, learner.data())
        self._compensate(learner, features)
        for name, rows in features.items():
            draw = generator(self.seed or 0, "generator", number, name)
            vae = self.generator == "vae"
            key = f"class {name}" if name else f"experience {number}"
            fitted = fit_vae(rows, draw, self.fitting) if vae else fit_gaussian(rows, self.rank)
            self._fitted[key] = fitted | {"experience": torch.tensor(number)}
        if self.when == "after":
            self._align(learner)

    def _compensate(self, learner: SupportsLearning, now: dict[str, Tensor]) -> None:
        """Move what generators centre on by how the new examples near it have moved in training."""
        if self.drift is None or not self._fitted:
            return
        with self._before.active(learner.model):
            then = late_features(learner, learner.data())
        start, end = (torch.cat([rows[name] for name in now]) for rows in (then, now))
        spread = float((start - start.mean(0)).square().sum(1).mean().sqrt())
        for fitted in self._fitted.values():
            fitted["mean"] = fitted["mean"] + drift(fitted["mean"][None], start, end, self.drift * spread)[0]

    def _align(self, learner: SupportsLearning) -> None:
        """Train what stands behind the towers on generated features of all that was met."""
        weights = [p for p in late_part(learner.model).parameters() if p.requires_grad]
        if not weights:
            return
        optimizer = torch.optim.SGD(weights, lr=self.rate, momentum=0.9)
        for step in range(self.steps):
            loss = self._generated_loss(learner, "after", learner.progress.experience, step)
            slopes = torch.autograd.grad(loss, weights, allow_unused=True)
            for parameter, slope in zip(weights, slopes, strict=True):
                parameter.grad = slope
            optimizer.step()
        for parameter in weights:
            parameter.grad = None

    def _generated_loss(self, learner: SupportsLearning, *place: int | str) -> Tensor:
        draw = generator(self.seed or 0, "features", *place)
        names = [*self._fitted]
        classes = names[0].startswith("class ")
        # Queries of one domain are each other's negatives; classes stand all against each other.
        count = self.batch_size if classes else 1
        chosen = torch.randint(len(names), (count,), generator=draw).tolist()
        rows = [
            sample(self._fitted[names[i]], chosen.count(i) if classes else self.batch_size, draw)
            for i in sorted({*chosen})
        ]
        with seeded(self.seed or 0, "features", *place):  # dropout
            return late_loss(
                learner.model,
                torch.cat(rows),
                [names[i][6:] for i in sorted(chosen)],
                temperature=self.temperature,
                blocks=self._met_together() if classes else (),
            )

    def _met_together(self) -> list[list[int]]:
        """Classes by the last experience that had them."""
        found: dict[int, list[int]] = {}
        for name, fitted in self._fitted.items():
            found.setdefault(int(fitted.get("experience", 0)), []).append(int(name[6:]))
        return [*found.values()]
