"""The contract of a teacher: what another model makes of a batch."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from clplat import registry
from clplat.data.inputs import Images, Texts
from clplat.errors import UserError
from clplat.mechanisms.teacher import Predicts, Teacher
from clplat.models.features import POOLED, ImageFeatures, TextFeatures, Wants
from clplat.models.outputs import Outputs

__all__ = ["TeacherPart", "existing", "of_triplets", "rows_of_items", "teacher_named"]


class TeacherPart:
    """A model that a strategy asks for outputs: an earlier one, a smoother one, or another one.

    A strategy calls `begin` in ``before_experience``, `follow` in ``after_step`` and `outputs` in ``loss``.
    The constructor is the configuration. State of the student's own structure is a
    `clplat.mechanisms.teacher.Teacher` in ``_held``; a part that keeps something else overrides what follows.
    """

    #: It changes while an experience is trained, so that nothing that it makes is kept.
    moves: bool = False

    _held: Teacher

    def begin(self, learner: Predicts) -> None:
        """An experience begins, and the model is as the one before left it."""
        self._held.update(learner.model, learner.pretrained)

    @property
    def knows(self) -> bool:
        """Whether it has something to teach in this experience."""
        return self._held.knows

    def follow(self, learner: Predicts) -> None:
        """The optimizer has made a step."""
        self._held.follow(learner.model)

    def outputs(self, learner: Predicts, batch: Any) -> Any:
        """What the teacher makes of a batch, as ``learner.predict`` says it of the student; no gradients.

        Raises:
            RuntimeError: before the first `begin`.
            UserError: teacher and student do not fit together.
        """
        with self._active(learner.model):
            return learner.predict(batch)

    def image_features(self, learner: Predicts, images: Images, wants: Wants) -> ImageFeatures:
        """What the image tower gives of pictures, where there is one.

        Raises:
            UserError: it keeps pooled features alone.
        """
        with self._active(learner.model):
            model: Any = learner.model
            found: ImageFeatures = model.image_features(images, wants)
            return found

    def text_features(self, learner: Predicts, texts: Texts, wants: Wants) -> TextFeatures:
        """What the text tower gives of texts, where there is one.

        Raises:
            UserError: it keeps pooled features alone.
        """
        with self._active(learner.model):
            model: Any = learner.model
            found: TextFeatures = model.text_features(texts, wants)
            return found

    def _active(self, model: Any) -> AbstractContextManager[None]:
        """Inside, the model is the teacher."""
        return self._held.active(model)

    def bytes(self) -> int:
        """Bytes of what it keeps beside the student."""
        return self._held.bytes()

    def state_dict(self) -> dict[str, Any]:
        return self._held.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._held.load_state_dict(state)


def teacher_named(teacher: TeacherPart | str) -> TeacherPart:
    """A teacher by its name, with its defaults; one that is made already is handed back.

    Raises:
        ValueError: there is none of that name.

    Example:
        >>> teacher_named("momentum").moves
        True
    """
    if isinstance(teacher, TeacherPart):
        return teacher
    try:
        made: TeacherPart = registry.load("teachers", teacher)()
    except UserError as error:
        raise ValueError(str(error)) from error
    return made


def rows_of_items(teacher: TeacherPart, learner: Predicts, batch: Any) -> tuple[Tensor, Tensor]:
    """Unit rows (B + C, D) of a batch's items, by their pictures and by their texts.

    What has no picture has its text's row in the first as well, what has no text its picture's in the second.
    """
    found: list[Tensor] = []
    if len(batch.pictures):
        found.append(teacher.image_features(learner, batch.pictures, POOLED).pooled)
    if len(batch.texts):
        found.append(teacher.text_features(learner, batch.texts, POOLED).pooled)
    rows = normalize(torch.cat(found).float(), dim=-1)
    first = len(batch.pictures)
    places = [*zip(batch.picture_rows, batch.text_rows, strict=True)]
    shown = [picture if picture >= 0 else first + text for picture, text in places]
    said = [first + text if text >= 0 else picture for picture, text in places]
    return rows[shown], rows[said]


def of_triplets(batch: Any, pictures: Tensor, texts: Tensor, weight: float, scale: Tensor) -> Outputs:
    """Outputs of fixed features: queries are unit sums of picture and text.

    Args:
        batch: of triplets.
        pictures: unit rows (B + C, D) of the queries' pictures and of the candidates; texts: (B, D).
        weight: share of the text in a query.
        scale: the logit scale.
    """
    count = len(batch)
    query = (1 - weight) * pictures[:count] + weight * texts
    return Outputs(normalize(query, dim=-1), pictures[count:], scale)


def existing(path: str) -> Path:
    """The path of a file that is there.

    Raises:
        ValueError: it is not.
    """
    if not Path(path).is_file():
        raise ValueError(f"there is no file {path}")
    return Path(path)
