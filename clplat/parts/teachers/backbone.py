"""Backbone: another pretrained model, with features of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from clplat.data.inputs import Images, Texts
from clplat.errors import UserError
from clplat.mechanisms.teacher import Predicts
from clplat.models.backbone import Backbone
from clplat.models.features import ImageFeatures, Wants, in_float
from clplat.models.outputs import Outputs
from clplat.parts.teachers._base import TeacherPart, of_triplets
from clplat.trees import save_tree

__all__ = ["OtherBackbone"]

#: Items per pass, always as many: matrix products of other shapes round otherwise, and a run that resumes
#: meets items in another order.
CHUNK = 32


class OtherBackbone(TeacherPart):
    """Another pretrained model, whose features are computed once per picture and text.

    Its queries are unit sums of the features of picture and text. Pictures of another size are resized, as
    they were preprocessed for the student; both must read the same token ids.

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
        self._kept: dict[tuple[str, str], Tensor] = {}

    def begin(self, learner: Predicts) -> None:
        self._ready(learner)

    def _ready(self, learner: Predicts) -> Backbone:
        """The backbone on the student's device; a run that resumes inside an experience does not begin it."""
        if self._backbone is None:
            backbone = Backbone.load(self.model, self.pretrained)
            _same_words(backbone, learner.model)
            self._backbone = backbone.to(next(learner.model.parameters()).device)
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
        pictures = self._all(batch.pictures.kind, batch.pictures.names, self._seen(backbone, batch.pictures))
        texts = self._all("text", batch.texts.names, self._read(backbone, batch.texts))
        return of_triplets(batch, pictures, texts, self.weight, backbone.logit_scale.exp())

    @torch.no_grad()
    def image_features(self, learner: Predicts, images: Images, wants: Wants) -> ImageFeatures:
        backbone = self._ready(learner)
        return in_float(backbone.image(_fitted(images.pixels, backbone), wants))

    def keep(self, path: Path) -> None:
        """Write the features that it has made, by name, for the teacher `KeptFeatures`.

        Raises:
            UserError: it has made none.
        """
        if self._backbone is None or not self._kept:
            raise UserError("the teacher 'backbone' has made no features yet: ask it for outputs first")
        features: dict[str, tuple[list[str], Tensor]] = {}
        for kind in dict.fromkeys(kind for kind, _ in self._kept):
            rows = {name: row for (own, name), row in self._kept.items() if own == kind}
            features[kind] = [*rows], torch.stack([*rows.values()])
        save_tree(path, {"features": features, "scale": self._backbone.logit_scale.exp()})

    def bytes(self) -> int:
        """Those of its weights, and of the features that it keeps."""
        own = [] if self._backbone is None else [*self._backbone.parameters()]
        return sum(tensor.numel() * tensor.element_size() for tensor in (*own, *self._kept.values()))

    def state_dict(self) -> dict[str, Any]:
        """Nothing: all of it is made again."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to restore."""

    def _all(self, kind: str, names: Sequence[str], make: Callable[[list[int]], Tensor]) -> Tensor:
        """Unit rows by name, those that are not known made at once; nothing is kept of an unknown kind."""
        missing = [i for i, name in enumerate(names) if not kind or (kind, name) not in self._kept]
        made: dict[int, Tensor] = {}
        for start in range(0, len(missing), CHUNK):
            some = missing[start : start + CHUNK]
            padded = some + some[-1:] * (CHUNK - len(some))
            made |= zip(some, F.normalize(make(padded).float(), dim=-1), strict=False)
        rows = [made[i] if i in made else self._kept[kind, name] for i, name in enumerate(names)]
        self._kept |= {(kind, names[i]): row for i, row in made.items() if kind}
        return torch.stack(rows)

    def _seen(self, backbone: Backbone, images: Images) -> Callable[[list[int]], Tensor]:
        def make(rows: list[int]) -> Tensor:
            return backbone.image(_fitted(images.at(rows), backbone)).pooled

        return make

    def _read(self, backbone: Backbone, texts: Texts) -> Callable[[list[int]], Tensor]:
        def make(rows: list[int]) -> Tensor:
            ids, room = texts.ids[rows].to(backbone.logit_scale.device), backbone.context_length
            if max(texts.lengths[i] for i in rows) > room:
                raise UserError(f"a text is longer than the {room} tokens of the teacher '{self.model}'")
            return backbone.text(F.pad(ids, (0, max(0, room - ids.shape[1])))[:, :room]).pooled

        return make


def _fitted(pixels: Tensor, backbone: Backbone) -> Tensor:
    """Pixels on the backbone's device and of its size."""
    pixels, size = pixels.to(backbone.logit_scale.device), (backbone.image_size,) * 2
    if pixels.shape[-2:] == size:
        return pixels
    resized = F.interpolate(pixels.float(), size, mode="bicubic", antialias=True)
    return resized.round().clamp(0, 255).to(torch.uint8)


def _same_words(backbone: Backbone, model: Any) -> None:
    """Refuse a teacher that reads other token ids than the student's tokenizer writes."""
    own = getattr(getattr(model, "backbone", None), "tokenize", None)
    if own is not None:
        mine, theirs = (Texts(tokenize(["a red shoe"])).names for tokenize in (own, backbone.tokenize))
        if mine != theirs:
            raise UserError(f"the teacher '{backbone.name}' reads other tokens than the model's own backbone")
