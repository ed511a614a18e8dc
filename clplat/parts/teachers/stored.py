"""Stored: a version of the model from a file."""

from __future__ import annotations

from clplat.documents.version import read_version
from clplat.errors import UserError
from clplat.mechanisms.teacher import Predicts, Teacher, snapshot
from clplat.models.names import named_buffers, named_parameters
from clplat.parts.teachers._base import TeacherPart, existing

__all__ = ["Stored"]


class Stored(TeacherPart):
    """A version that a run of the same parts left in its folder, ``runs/.../versions/<i>.safetensors``.

    It must be of the student's structure: every tensor of the file has its place in the model. What the file
    does not hold is the model's own, as it is before the stream.

    Args:
        path: of the file.

    Raises:
        ValueError: there is no such file.

    Example:
        >>> Stored("runs/first/naive-s0/versions/5.safetensors")  # doctest: +SKIP
    """

    def __init__(self, path: str) -> None:
        self.path = path
        existing(path)
        self._held = Teacher(which="initial")

    def begin(self, learner: Predicts) -> None:
        if self._held.tensors is not None:
            return
        weights = read_version(existing(self.path))["weights"]
        tensors = {**dict(named_parameters(learner.model)), **dict(named_buffers(learner.model))}
        for name, value in weights.items():
            if name not in tensors or tensors[name].shape != value.shape:
                raise UserError(f"{self.path} holds '{name}', which has no place in this model")
        own = snapshot(learner.model, statistics=True)  # what the student is about to move
        self._held = Teacher({**own, **weights}, which="initial")
