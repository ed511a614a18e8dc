"""Backbone: another pretrained model, with features of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from clplat.data.inputs import Images, Texts
from clplat.errors import UserError
from clplat.mechanisms.teacher import Predicts
from clplat.models.backbone import Backbone
from clplat.models.features import ImageFeatures, TextFeatures, Wants, in_float
from clplat.models.other_inputs import fitted_ids, fitted_pixels, same_words
from clplat.models.outputs import Outputs
from clplat.parts.teachers._base import TeacherPart, of_triplets
from clplat.parts.teachers._rows import NamedRows
from clplat.trees import save_tree

__all__ = ["OtherBackbone"]


class OtherBackbone(TeacherPart):
    """Another pretrained model, whose features are computed once per picture and text, also across runs.

    They lie in the feature store of the student, where it has one. Its queries are unit sums of the features
    of picture and text. Pictures of another size are resized, as they were preprocessed for the student; both
    must read the same token ids.

    Args:
        model: name of the backbone, as ``--backbone`` takes it.
        pretrained: tag or file of its weights.
        weight: share of the text in a query.

    Example:
        >>> OtherBackbone("clplat-tiny").moves
        False
    """

    def __init__(
        self, model: str = "clplat-tiny", pretrained: str | None = None, weight: float = 0.5
    ) -> None:
        if not 0 <= weight <= 1:
            raise ValueError(f"weight must lie in [0, 1], not {weight}")
        self.model, self.pretrained, self.weight = model, pretrained, weight
        self._backbone: Backbone | None = None
        self._rows = NamedRows({})

    def begin(self, learner: Predicts) -> None:
        self._ready(learner)

    def _ready(self, learner: Predicts) -> Backbone:
        """The backbone on the student's device; a run that resumes inside an experience does not begin it."""
        if self._backbone is None:
            backbone = Backbone.load(self.model, self.pretrained)
            same_words(backbone, getattr(learner.model, "backbone", None))
            self._backbone = backbone.to(next(learner.model.parameters()).device)
            self._rows = NamedRows({"weights": backbone.fingerprint(), "size": backbone.image_size})
        return self._backbone

    @property
    def knows(self) -> bool:
        return True

    def follow(self, learner: Predicts) -> None:
        """Nothing of it changes."""

    @torch.no_grad()
    def outputs(self, learner: Predicts, batch: Any) -> Outputs:
        backbone = self._ready(learner)
        if not batch.composed:
            raise UserError("the teacher 'backbone' takes triplets of picture, text and picture")
        pictures = self._seen(learner.model, batch.pictures)
        texts = self._read(learner.model, batch.texts)
        return of_triplets(batch, pictures, texts, self.weight, backbone.logit_scale.exp())

    @torch.no_grad()
    def image_features(self, learner: Predicts, images: Images, wants: Wants) -> ImageFeatures:
        backbone = self._ready(learner)
        if {*wants} == {"pooled"}:
            return ImageFeatures(pooled=self._seen(learner.model, images))
        if {*wants} == {"tokens"}:

            def make(rows: list[int]) -> Tensor:
                found = backbone.image(fitted_pixels(images.at(rows), backbone), wants).tokens
                assert found is not None
                return found.float()

            return ImageFeatures(
                tokens=self._rows.stored(learner.model, images.kind, images.names, make, "tokens")
            )
        return in_float(backbone.image(fitted_pixels(images.pixels, backbone), wants))

    @torch.no_grad()
    def text_features(self, learner: Predicts, texts: Texts, wants: Wants) -> TextFeatures:
        backbone = self._ready(learner)
        if {*wants} == {"pooled"}:
            return TextFeatures(pooled=self._read(learner.model, texts))
        return in_float(backbone.text(fitted_ids(texts.ids, texts.lengths, backbone), wants))

    def keep(self, path: Path) -> None:
        """Write the features that it has made, by name, for the teacher `KeptFeatures`.

        Raises:
            UserError: it has made none.
        """
        held = self._rows.held
        if self._backbone is None or not held:
            raise UserError("the teacher 'backbone' has made no features yet: ask it for outputs first")
        features: dict[str, tuple[list[str], Tensor]] = {}
        for kind in dict.fromkeys(kind for kind, _ in held):
            rows = {name: row for (own, name), row in held.items() if own == kind}
            features[kind] = [*rows], torch.stack([*rows.values()])
        save_tree(path, {"features": features, "scale": self._backbone.logit_scale.exp()})

    def bytes(self) -> int:
        """Those of its weights, and of the features that it keeps."""
        own = [] if self._backbone is None else [*self._backbone.parameters()]
        return sum(tensor.numel() * tensor.element_size() for tensor in own) + self._rows.bytes()

    def state_dict(self) -> dict[str, Any]:
        """Nothing: all of it is made again."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to restore."""

    def _seen(self, model: Any, images: Images) -> Tensor:
        """Unit rows of pictures."""
        backbone: Any = self._backbone
        return self._unit(
            model,
            images.kind,
            images.names,
            lambda rows: backbone.image(fitted_pixels(images.at(rows), backbone)),
        )

    def _read(self, model: Any, texts: Texts) -> Tensor:
        """Unit rows of texts."""
        backbone: Any = self._backbone

        def make(rows: list[int]) -> Any:
            ids = fitted_ids(texts.ids[rows], [texts.lengths[i] for i in rows], backbone)
            return backbone.text(ids, length=ids.shape[1])  # no bit depends on the other texts

        return self._unit(model, "text", texts.names, make)

    def _unit(self, model: Any, kind: str, names: list[str], make: Callable[[list[int]], Any]) -> Tensor:
        return self._rows(model, kind, names, lambda rows: F.normalize(make(rows).pooled.float(), dim=-1))
