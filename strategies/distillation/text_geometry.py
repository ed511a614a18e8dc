"""Text geometry: pictures keep the distances that an earlier model sees among what they are called."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize

from clplat.config.space import Choice, Float
from clplat.errors import UserError
from clplat.mechanisms.relation import Relation
from clplat.mechanisms.teacher import Teacher
from clplat.models.outputs import as_outputs
from clplat.training.strategy import Strategy, SupportsLearning

__all__ = ["TextGeometry"]


NAMES = ["{}", "a photo of a {}", "a picture of one {}", "a close view of a {}"]


class TextGeometry(Strategy):
    """Similarities among the targets of a batch follow those among texts of what they show.

    ``loss = weight * mean_{i != j} (s(t_i, t_j) - s'(c_i, c_j))^2`` with t of the student and texts c by the
    text tower of an earlier model. Each target is called by one of several names, drawn at every step, so
    that the space does not collapse onto one name of each thing.

    Args:
        weight: of the term.
        teacher: the model before the stream, or before this domain.
        names: templates, ``{}`` being what a target shows; by default `NAMES`.
        seed: of the draws; by default the experiment's.

    References:
        Han et al. 2023 (GKC), Global Knowledge Calibration for Fast Open-Vocabulary Segmentation, arXiv
        2303.09181.

    Needs:
        A `ComposedRetriever`, and batches that say what their candidates show.

    Relations:
        `Distill` with ``within`` keeps the similarities of pictures to each other as they were.

    Example:
        >>> from strategies import TextGeometry
        >>> TextGeometry(weight=2.0).weight
        2.0
    """

    any_module = False
    terms = ("geometry",)
    stores = "weights"

    def __init__(
        self,
        weight: Annotated[float, Float(0.1, 30.0, log=True)] = 1.0,
        teacher: Annotated[Literal["initial", "previous"], Choice("initial", "previous")] = "initial",
        names: list[str] | None = None,
        seed: int | None = None,
    ) -> None:
        if weight < 0 or names == [] or not all("{}" in name for name in names or ()):
            raise ValueError(f"weight must be at least 0 and every name hold {{}}, not {weight} and {names}")
        self.weight, self.teacher, self.names, self.seed = weight, teacher, names, seed
        self.relation = Relation("row", direction="match", drop_diagonal=True)
        self._teacher = Teacher(which=teacher)

    def before_experience(self, learner: SupportsLearning, experience: Any) -> None:
        if not hasattr(learner.model, "text_features"):
            raise UserError("text_geometry needs a ComposedRetriever as the model, to embed texts")
        self._teacher.update(learner.model, learner.pretrained)

    def loss(self, learner: SupportsLearning, batch: Any, outputs: Any) -> dict[str, Tensor]:
        if not self._teacher.knows:
            return {}
        model: Any = learner.model
        made: Any = as_outputs(outputs)
        count, names = len(batch), self.names or NAMES
        draw = learner.progress.generator(self.seed or 0, "names")
        chosen = torch.randint(len(names), (count,), generator=draw).tolist()
        said = [names[i].format(shown) for i, shown in zip(chosen, batch.labels[:count], strict=True)]
        with self._teacher.active(model):
            texts = normalize(model.text_features(model.towers.tokenize(said)).pooled, dim=-1)
        targets = made.candidates[:count]
        return {"geometry": self.weight * self.relation(targets @ targets.T, texts @ texts.T)}
