"""The contract of a teacher: what another model makes of a batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from clplat import registry
from clplat.errors import UserError
from clplat.mechanisms.teacher import Predicts, Teacher

__all__ = ["TeacherPart", "existing", "teacher_named"]


class TeacherPart:
    """A model that a strategy asks for outputs: an earlier one, a smoother one, or another one.

    A strategy calls `begin` in ``before_experience``, `follow` in ``after_step`` and `outputs` in ``loss``.
    The constructor is the configuration. State of the student's own structure is a
    `clplat.mechanisms.teacher.Teacher` in ``_held``; a part that keeps something else overrides what follows.
    """

    #: It changes while an experience is trained, so that nothing that it makes is kept.
    moves: ClassVar[bool] = False

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
        return self._held.outputs(learner, batch)

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


def existing(path: str) -> Path:
    """The path of a file that is there.

    Raises:
        ValueError: it is not.
    """
    if not Path(path).is_file():
        raise ValueError(f"there is no file {path}")
    return Path(path)
