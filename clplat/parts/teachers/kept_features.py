"""Kept features: what other models made of pictures and texts, by name, from a file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from clplat.data.inputs import Images, Texts
from clplat.errors import UserError
from clplat.mechanisms.teacher import Predicts
from clplat.models.features import ImageFeatures, TextFeatures, Wants
from clplat.models.outputs import Outputs
from clplat.parts.teachers._base import TeacherPart, existing, of_triplets
from clplat.trees import load_tree

__all__ = ["KeptFeatures"]


class KeptFeatures(TeacherPart):
    """A teacher that is a file: no model runs while the student learns.

    The file is what ``OtherBackbone.keep(path)`` writes of the features that it has made. Its queries are
    unit sums of the features of picture and text.

    Args:
        path: of the file.
        weight: share of the text in a query.

    Raises:
        ValueError: there is no such file; the weight is out of range.

    References:
        Vasu et al. 2024 (MobileCLIP), arXiv 2311.17049: teachers that exist as stored embeddings alone.

    Example:
        >>> KeptFeatures("features/vit-l.safetensors")  # doctest: +SKIP
    """

    def __init__(self, path: str, weight: float = 0.5) -> None:
        if not 0 <= weight <= 1:
            raise ValueError(f"weight must lie in [0, 1], not {weight}")
        self.path, self.weight = path, weight
        existing(path)
        self._rows: dict[str, dict[str, Tensor]] = {}
        self._scale = torch.tensor(1.0)

    def begin(self, learner: Predicts) -> None:
        self._read()

    def _read(self) -> None:
        if self._rows:
            return
        held = load_tree(existing(self.path))
        if not isinstance(held, dict) or not held.keys() >= {"features", "scale"}:
            raise UserError(f"{self.path} holds no features of a teacher")
        for kind, (names, rows) in held["features"].items():
            self._rows[kind] = dict(zip(names, rows, strict=True))
        self._scale = held["scale"]

    @property
    def knows(self) -> bool:
        return True

    def follow(self, learner: Predicts) -> None:
        """Nothing of it changes."""

    def outputs(self, learner: Predicts, batch: Any) -> Outputs:
        self._read()
        if not batch.composed:
            raise UserError("the teacher 'kept_features' takes triplets of picture, text and picture")
        device = next(learner.model.parameters()).device
        pictures = self._found(batch.pictures.kind, batch.pictures.names)
        texts = self._found("text", batch.texts.names)
        rows = pictures.to(device), texts.to(device)
        return of_triplets(batch, *rows, self.weight, self._scale.to(device))

    def image_features(self, learner: Predicts, images: Images, wants: Wants) -> ImageFeatures:
        self._read()
        _refuse(wants)
        return ImageFeatures(pooled=self._found(images.kind, images.names))

    def text_features(self, learner: Predicts, texts: Texts, wants: Wants) -> TextFeatures:
        self._read()
        _refuse(wants)
        return TextFeatures(pooled=self._found("text", texts.names))

    def _found(self, kind: str, names: Sequence[str]) -> Tensor:
        rows = self._rows.get(kind, {})
        if lost := next((name for name in names if name not in rows), None):
            raise UserError(f"{self.path} holds no features of {kind or 'the picture'} '{lost}'")
        return torch.stack([rows[name] for name in names])

    def bytes(self) -> int:
        """Those of all features, once they are read."""
        kept = [row for rows in self._rows.values() for row in rows.values()]
        return sum(row.numel() * row.element_size() for row in kept)

    def state_dict(self) -> dict[str, Any]:
        """Nothing: all of it is in the file."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to restore."""


def _refuse(wants: Wants) -> None:
    if {*wants} != {"pooled"}:
        raise UserError("the teacher 'kept_features' holds pooled features alone")
