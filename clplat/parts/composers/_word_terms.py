"""The objectives of `clplat.parts.composers.pseudo_word` in a step of training."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch.nn.functional as F
from torch import Tensor, nn

from clplat.errors import UserError
from clplat.mechanisms.concepts import Concepts
from clplat.mechanisms.inversion import Inversion, Inverted
from clplat.mechanisms.pseudo_words import Sentences, Template, joint_nce, symmetric_nce
from clplat.mechanisms.word_maps import Words
from clplat.mechanisms.word_tasks import Tasks, reconstruction, semantic, text_triplets, uncrossed
from clplat.models.features import ImageFeatures
from clplat.models.view import Towers

__all__ = ["Step", "terms_of"]

#: Of SEARLE's distillation: temperature 0.25.
_DISTIL = 4.0


class Map(Protocol):
    """What the objectives read of the composer."""

    tasks: Tasks
    oti: Inversion
    _towers: Towers
    _frozen: Towers
    _sentence: Template
    _reader: Sentences
    _concepts: Concepts | None
    _inverted: Inverted

    def words_of(self, pooled: Tensor) -> Tensor: ...

    def parameters(self) -> Iterator[nn.Parameter]: ...


@dataclass
class Step:
    """What a step of training saw.

    Args:
        batch, outputs: of the step.
        image: features of the queries' pictures.
        words: that were made of them.
    """

    batch: Any
    outputs: Any
    image: ImageFeatures
    words: Words

    @property
    def keys(self) -> list[str]:
        """Of the pictures."""
        return self.image.keys or [str(i) for i in range(len(self.words.vectors))]

    def captions(self, side: int) -> list[str]:
        """Of the queries' pictures (0) or of the answers (1).

        Raises:
            UserError: the batch has none.
        """
        held = [extra.get("captions") for extra in self.batch["extra"]]
        if None in held:
            raise UserError("an objective on captions needs them: --transform captions_beside")
        return [both[side] for both in held]


def terms_of(composer: Map, weights: Mapping[str, float], step: Step) -> dict[str, Tensor]:
    """The weighted objectives; those of the map only while it is trained."""
    trains = any(parameter.requires_grad for parameter in composer.parameters())
    always = ("triplets", "told")
    chosen = {name: weight for name, weight in weights.items() if trains or name in always}
    return {name: weight * _OBJECTIVES[name](composer, step) for name, weight in chosen.items()}


def _inversion(composer: Map, step: Step) -> Tensor:
    tasks, towers, words = composer.tasks, composer._towers, step.words
    said = composer._sentence.alone(words.vectors, words.present)
    contrast = joint_nce if tasks.joint else symmetric_nce
    scale = 1 / tasks.temperature if tasks.temperature else towers.scale
    return contrast(said, step.image.pooled, step.keys, scale)


def _distil(composer: Map, step: Step) -> Tensor:
    goal = composer._inverted(step.keys, step.image.pooled)
    return joint_nce(step.words.vectors.flatten(1), goal.flatten(1), step.keys, _DISTIL)


def _phrases(composer: Map, step: Step) -> Tensor:
    concepts = composer._concepts
    assert concepts is not None
    near = concepts.nearest(F.normalize(step.image.pooled, dim=-1), composer.oti.concepts)
    return concepts.away(step.words.vectors, near, [None] * len(near)).mean()


def _language(composer: Map, step: Step) -> Tensor:
    reads = composer._towers, composer._reader, composer.words_of
    return reconstruction(*reads, step.captions(0), composer.tasks.noise)


def _triplets(composer: Map, step: Step) -> Tensor:
    said = step.captions(0), step.batch.texts.said[: len(step.keys)], step.captions(1)
    scale = 1 / composer.tasks.temperature if composer.tasks.temperature else 1 / 0.07
    return text_triplets(
        composer._frozen,
        composer._reader,
        composer.words_of,
        said,
        noise=composer.tasks.noise,
        scale=scale,
    )


def _told(composer: Map, step: Step) -> Tensor:
    captions = step.captions(1)
    goal = composer._towers.text(captions).pooled
    return symmetric_nce(step.outputs.query, goal, captions, composer._towers.scale)


def _semantic(composer: Map, step: Step) -> Tensor:
    said = composer._sentence.alone(step.words.vectors, step.words.present)
    return semantic(composer._towers, composer._reader, step.words, said, step.captions(0))


def _orthogonal(composer: Map, step: Step) -> Tensor:
    parts = step.words.parts
    return uncrossed(step.words.vectors if parts is None else parts)


_OBJECTIVES: dict[str, Callable[[Map, Step], Tensor]] = {
    "inversion": _inversion,
    "distil": _distil,
    "phrases": _phrases,
    "language": _language,
    "triplets": _triplets,
    "told": _told,
    "semantic": _semantic,
    "orthogonal": _orthogonal,
}
