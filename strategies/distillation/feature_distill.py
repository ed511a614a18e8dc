"""Feature distillation: embeddings, towers or patch tokens follow those of another model."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from clplat.config.space import Choice, Float
from clplat.errors import UserError
from clplat.mechanisms.feature_match import feature_match, pooled_by
from clplat.mechanisms.projector import Projector
from clplat.models.features import POOLED
from clplat.models.outputs import are_embeddings, as_outputs
from clplat.parts.teachers._base import TeacherPart, teacher_named
from clplat.training.strategy import Strategy, SupportsLearning

__all__ = ["FeatureDistill"]


class FeatureDistill(Strategy):
    """Features follow a teacher's: of queries and targets, of each tower, or of all patches of the pictures.

    ``loss = weight * match(h(f), f')`` with f of the student and f' of the teacher, see
    `clplat.mechanisms.feature_match.feature_match`. Where the widths differ, h is a linear projector that is
    trained beside the model; correlations need none. With a guide, f' of a patch is the mean over the patches
    that look alike to another model, `clplat.mechanisms.feature_match.pooled_by`.

    Args:
        weight: of the term, small beside a contrastive loss: squared differences and cosines of unit rows.
        teacher: of any kind, ``clplat list teachers``.
        of: ``embeddings``: what is compared in search, the mean over both sides; ``texts``: what the text
            tower makes of the batch's texts (KgCoOp); ``towers``: the mean of that and of the image tower's
            pictures (PromptSRC); ``tokens``: the patch tokens of the image tower.
        form: ``cosine``: 1 - cos; ``mse``: squared differences; ``l1``: absolute ones of unit rows;
            ``correlation``: squared differences of the cosines among the tokens of one picture, or among the
            embeddings of one side.
        balance: of towers, texts count so many times as much as pictures.
        guide: a second teacher, whose tokens say which patches of a picture belong together; tokens only.
        floor: cosine of its tokens from which on they do.
        seed: of the projector; by default the experiment's.

    References:
        Csizmadia et al. 2025 (DCLIP), arXiv 2505.21549; Wang et al. 2024 (SAM-CLIP), arXiv 2310.15308; Cai et
        al. 2025 (LLaVA-KD), arXiv 2410.16236; Wysoczanska et al. 2024 (CLIP-DINOiser), arXiv 2312.12359; Yao
        et al. 2023 (KgCoOp), arXiv 2303.13283; Khattak et al. 2023 (PromptSRC), arXiv 2307.06948.

    Needs:
        A learner with ``predict`` whose outputs are `clplat.parts.Outputs` or a pair of rows (B, D) and (C,
        D), the B targets first; of tokens, texts and towers a `ComposedRetriever`, and a pass of these towers
        more.

    Relations:
        `Distill` keeps similarities and lets features move together.

    Example:
        >>> from strategies import FeatureDistill
        >>> FeatureDistill(form="mse").of
        'embeddings'
    """

    needs_embeddings = True
    terms = ("features",)
    stores = "weights"

    def __init__(
        self,
        weight: Annotated[float, Float(0.3, 300.0, log=True)] = 30.0,
        teacher: TeacherPart | None = None,
        of: Literal["embeddings", "texts", "towers", "tokens"] = "embeddings",
        form: Annotated[
            Literal["cosine", "mse", "l1", "correlation"], Choice("cosine", "mse", "correlation")
        ] = "cosine",
        guide: TeacherPart | None = None,
        floor: float = 0.2,
        seed: int | None = None,
        balance: float = 1.0,
    ) -> None:
        if not balance >= 0:
            raise ValueError(f"balance must be at least 0, not {balance}")
        if not (weight >= 0 and 0 < floor < 1):
            raise ValueError(f"weight must be at least 0 and floor in (0, 1), not {weight} and {floor}")
        if guide is not None and of != "tokens":
            raise ValueError("a guide is of tokens: it says which patches belong together")
        self.weight, self.of, self.form, self.seed, self.balance = weight, of, form, seed, balance
        self.teacher = teacher_named("previous" if teacher is None else teacher)
        self.floor, self.guide = floor, None if guide is None else teacher_named(guide)
        self._projector = Projector(seed=seed or 0)

    @property
    def _teachers(self) -> list[TeacherPart]:
        return [one for one in (self.teacher, self.guide) if one is not None]

    def before_experience(self, learner: SupportsLearning, experience: Any) -> None:
        if self.of != "embeddings" and not hasattr(learner.model, "image_features"):
            raise UserError(f"feature_distill of {self.of} needs a ComposedRetriever as the model")
        for teacher in self._teachers:
            teacher.begin(learner)

    def loss(self, learner: SupportsLearning, batch: Any, outputs: Any) -> dict[str, Tensor]:
        if not are_embeddings(outputs):
            raise TypeError("FeatureDistill needs embeddings of two sides, not logits: Distill takes those")
        if not all(teacher.knows for teacher in self._teachers):
            return {}
        if self.of == "embeddings":
            pairs = self._rows(learner, batch, outputs)
        else:
            pairs = self._tokens(learner, batch) if self.of == "tokens" else self._towers(learner, batch)
        found = [feature_match(self._fitted(one, other), other, self.form) for one, other in pairs]
        if self.of == "towers" and len(batch.texts):
            found[-1] = self.balance * found[-1]
        return {"features": self.weight * torch.stack(found).mean()} if found else {}

    def _rows(self, learner: SupportsLearning, batch: Any, outputs: Any) -> list[tuple[Tensor, Tensor]]:
        own: Any = as_outputs(outputs)
        other: Any = as_outputs(self.teacher.outputs(learner, batch))
        count = len(own.query)
        return [(own.query, other.query), (own.candidates[:count], other.candidates[:count])]

    def _towers(self, learner: SupportsLearning, batch: Any) -> list[tuple[Tensor, Tensor]]:
        """Pooled features of all pictures of a batch, where they count, and of its texts."""
        model: Any = learner.model
        pairs: list[tuple[Tensor, Tensor]] = []
        if self.of == "towers" and len(batch.pictures):
            shown: Tensor = self.teacher.image_features(learner, batch.pictures, POOLED).pooled
            pairs.append((model.image_features(batch.pictures).pooled, shown))
        if len(batch.texts):
            said: Tensor = self.teacher.text_features(learner, batch.texts, POOLED).pooled
            pairs.append((model.text_features(batch.texts).pooled, said))
        return pairs

    def _tokens(self, learner: SupportsLearning, batch: Any) -> list[tuple[Tensor, Tensor]]:
        model: Any = learner.model
        own: Tensor = model.image_features(batch.pictures, {"tokens"}).tokens
        other: Any = self.teacher.image_features(learner, batch.pictures, {"tokens"}).tokens
        if self.guide is not None:
            seen: Any = self.guide.image_features(learner, batch.pictures, {"tokens"}).tokens
            other = pooled_by(other, seen, self.floor)
        if own.shape[1] != other.shape[1]:
            raise UserError(
                f"the teacher has {other.shape[1]} patches of a picture, the student {own.shape[1]}"
            )
        return [(own, other)]

    def _fitted(self, rows: Tensor, like: Tensor) -> Tensor:
        if self.form == "correlation" or rows.shape[-1] == like.shape[-1]:
            return rows
        return self._projector(rows.flatten(0, -2), like.shape[-1]).reshape(like.shape)

    def after_step(self, learner: SupportsLearning, batch: Any, outputs: Any) -> None:
        for teacher in self._teachers:
            teacher.follow(learner)
        self._projector.step(learner.averaged)
