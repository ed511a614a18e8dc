"""Knowledge consolidation: what the model makes of an example leads back to what it made of it before."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from torch import Tensor

from clplat.config.space import Float, Int
from clplat.mechanisms.projector import Projector
from clplat.models.outputs import are_embeddings, as_outputs, cosines
from clplat.parts.losses.info_nce import info_nce
from clplat.parts.teachers._base import TeacherPart, teacher_named
from clplat.training.strategy import Strategy, SupportsLearning

__all__ = ["KnowledgeConsolidation"]


class KnowledgeConsolidation(Strategy):
    """Contrastive knowledge consolidation: an old embedding is found by the projected new one of its example.

    ``loss = weight * (CE(h(z_i) over z') + CE(z'_i over h(z))) / 2`` over the 2B embeddings z of queries and
    targets together, z' of the teacher, with h a projector that is trained beside the model. The new space
    need not be the old one; it must tell everything apart that the old one told apart.

    Args:
        weight: of the term.
        teacher: of any kind, ``clplat list teachers``; its width may be another.
        temperature: of the cosines.
        hidden: width of the projector's layer between; 0: it is linear.
        lr: of the projector.
        seed: of the projector; by default the experiment's.

    References:
        Liu et al. 2025 (C-CLIP), C-CLIP: Multimodal Continual Learning for Vision-Language Model, ICLR 2025.

    Needs:
        A learner with ``predict`` whose outputs are `clplat.parts.Outputs` or a pair of unit rows (B, D) and
        (C, D), the B targets first.

    Relations:
        `Distill` keeps similarities as they were. C-CLIP is this on LoRA with `Patch`.

    Example:
        >>> from strategies import KnowledgeConsolidation
        >>> KnowledgeConsolidation(temperature=0.05).weight
        1.0
    """

    needs_embeddings = True
    terms = ("consolidation",)
    stores = "weights"

    def __init__(
        self,
        weight: Annotated[float, Float(0.1, 10.0, log=True)] = 1.0,
        teacher: TeacherPart | None = None,
        temperature: Annotated[float, Float(0.01, 0.3, log=True)] = 0.07,
        hidden: Annotated[int, Int(0, 1024)] = 0,
        lr: Annotated[float, Float(1e-4, 1e-2, log=True)] = 1e-3,
        seed: int | None = None,
    ) -> None:
        if not (weight >= 0 and temperature > 0 and hidden >= 0 and lr > 0):
            raise ValueError(
                "weight and hidden must be at least 0, temperature and lr above 0, "
                f"not {weight}, {hidden}, {temperature} and {lr}"
            )
        self.weight, self.temperature, self.hidden, self.lr, self.seed = weight, temperature, hidden, lr, seed
        self.teacher = teacher_named("previous" if teacher is None else teacher)
        self._projector = Projector(hidden, lr, seed or 0)

    def before_experience(self, learner: SupportsLearning, experience: Any) -> None:
        self.teacher.begin(learner)

    def loss(self, learner: SupportsLearning, batch: Any, outputs: Any) -> dict[str, Tensor]:
        if not are_embeddings(outputs):
            raise TypeError("KnowledgeConsolidation needs embeddings of two sides, not logits")
        if not self.teacher.knows:
            return {}
        new, old = _all(outputs), _all(self.teacher.outputs(learner, batch))
        projected = self._projector(new, old.shape[1])
        logits = cosines(projected, old, 1.0 / self.temperature)
        return {"consolidation": self.weight * info_nce(logits, symmetric=True)}

    def after_step(self, learner: SupportsLearning, batch: Any, outputs: Any) -> None:
        self.teacher.follow(learner)
        self._projector.step(learner.averaged)


def _all(outputs: Any) -> Tensor:
    """Queries and targets, one below the other (2B, D)."""
    made: Any = as_outputs(outputs)
    return torch.cat([made.query, made.candidates[: len(made.query)]])
