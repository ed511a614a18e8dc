"""Zero-shot probes: what the model still knows outside the stream."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from clplat.data.records import Picture
from clplat.evaluation.gallery import Scored
from clplat.evaluation.ranking import rank_of_targets, top_k
from clplat.parts.probes._base import ModelView, Probe
from clplat.parts.scorers._base import Scorer

__all__ = ["ClassificationProbe", "RetrievalProbe", "classification_accuracy", "image_text_recall"]


@dataclass(frozen=True)
class RetrievalProbe(Probe):
    """Captioned pictures: image-text retrieval in both directions.

    Args:
        name: in results.
        pictures: what is shown.
        texts: the caption of each.
        owners: for each text the place of its picture, where pictures have several texts.

    Raises:
        ValueError: pictures and texts are no pairs, and nothing says whose texts they are.
    """

    name: str
    pictures: tuple[Picture, ...] = field()  # no default of the base
    texts: tuple[str, ...] = field()
    owners: tuple[int, ...] = ()
    headline = "R@1"

    def __post_init__(self) -> None:
        if self.owners:
            _refuse_strangers(self.owners, len(self.pictures), len(self.texts), f"probe '{self.name}'")
        elif len(self.pictures) != len(self.texts):
            counts = f"{len(self.pictures)} pictures and {len(self.texts)} captions"
            raise ValueError(f"probe '{self.name}' needs pairs, not {counts}")

    def identity(self) -> list[Any]:
        """As release 0.1.0 wrote it, where each picture has one text."""
        return [self.name, "retrieval", [picture.key for picture in self.pictures], self.texts, self.owners]

    def measure(self, view: ModelView) -> dict[str, float]:
        """See `image_text_recall`; of pictures with one caption each, equal captions answer each other."""
        images, texts, scorer = (
            view.images(self.pictures),
            view.texts(self.texts),
            getattr(view, "scorer", None),
        )
        if self.owners:
            return image_text_recall(images, texts, owners=self.owners, scorer=scorer)
        return image_text_recall(images, texts, groups=self.texts, scorer=scorer)


@dataclass(frozen=True)
class ClassificationProbe(Probe):
    """Labelled pictures: zero-shot classification by prompts.

    Args:
        name: in results.
        pictures: what is shown.
        texts: the prompt of each class.
        labels: the class of each picture.

    Raises:
        ValueError: a picture without a label, or a label without a prompt.
    """

    name: str
    pictures: tuple[Picture, ...] = field()  # no default of the base
    texts: tuple[str, ...] = field()
    labels: tuple[int, ...] = field()
    headline = "accuracy"

    def __post_init__(self) -> None:
        if len(self.pictures) != len(self.labels):
            counts = f"{len(self.pictures)} pictures and {len(self.labels)} labels"
            raise ValueError(f"probe '{self.name}' needs a label per picture, not {counts}")
        wrong = [label for label in self.labels if not 0 <= label < len(self.texts)]
        if wrong:
            raise ValueError(f"probe '{self.name}' has no prompt for class {wrong[0]}")

    def identity(self) -> list[Any]:
        """As release 0.1.0 wrote it."""
        keys = [picture.key for picture in self.pictures]
        return [self.name, "classification", keys, self.texts, self.labels]

    def measure(self, view: ModelView) -> dict[str, float]:
        """See `classification_accuracy`."""
        images, prompts = view.images(self.pictures), view.texts(self.texts)
        scorer = getattr(view, "scorer", None)
        return {"accuracy": classification_accuracy(images, prompts, torch.tensor(self.labels), scorer)}


def image_text_recall(
    images: Tensor,
    texts: Tensor,
    ks: Sequence[int] = (1, 5, 10),
    groups: Sequence[Hashable] | None = None,
    scorer: Scorer | None = None,
    owners: Sequence[int] | None = None,
) -> dict[str, float]:
    """Image-text retrieval R@K in percent, and its two directions.

    Args:
        images: (N, D) embeddings.
        texts: (N, D) embeddings; text i describes picture i. With ``owners`` (M, D).
        ks: cut-offs.
        groups: what each pair shows, e.g. the captions: pairs of one group answer each other. Default: every
            pair is its own. Without groups, equal captions compete for one place, and all but one lose it.
        scorer: compares them; by default the dot product.
        owners: (M,) the picture that each text describes, of pictures with several texts: any of its texts
            answers a picture, and its picture answers a text. Takes the place of groups.

    Returns:
        ``R@K = (i2t R@K + t2i R@K) / 2``, ``i2t R@K`` (picture to texts) and ``t2i R@K``.

    Raises:
        ValueError: the rows are no pairs, there are none, or a score is not finite.

    Example:
        >>> import torch
        >>> image_text_recall(torch.eye(2), torch.tensor([[1.0, 0.0], [0.8, 0.6]]), ks=(1,))
        {'R@1': 75.0, 'i2t R@1': 100.0, 't2i R@1': 50.0}
    """
    if owners is not None:
        _refuse_strangers(owners, len(images), len(texts), "retrieval")
        said: list[list[int]] = [[] for _ in range(len(images))]
        for text, owner in enumerate(owners):
            said[owner].append(text)
        return _both_ways(images, texts, said, [[owner] for owner in owners], ks, scorer)
    if len(images) != len(texts) or (groups is not None and len(groups) != len(images)):
        named = "" if groups is None else f" and {len(groups)} groups"
        raise ValueError(f"pictures and texts must come in pairs, not {len(images)} and {len(texts)}{named}")
    members: dict[Hashable, list[int]] = {}
    for i, group in enumerate(range(len(images)) if groups is None else groups):
        members.setdefault(group, []).append(i)
    targets = [members[group] for group in (range(len(images)) if groups is None else groups)]
    return _both_ways(images, texts, targets, targets, ks, scorer)


def _both_ways(
    images: Tensor,
    texts: Tensor,
    of_images: Sequence[Sequence[int]],
    of_texts: Sequence[Sequence[int]],
    ks: Sequence[int],
    scorer: Scorer | None,
) -> dict[str, float]:
    """R@K of both directions and their mean; right answers of each picture, and of each text."""
    ranks = (
        rank_of_targets(asked, shown if scorer is None else Scored(shown, scorer), targets)[0]
        for asked, shown, targets in ((images, texts, of_images), (texts, images, of_texts))
    )
    i2t, t2i = ({k: 100.0 * (rank < k).double().mean().item() for k in ks} for rank in ranks)
    out = {f"R@{k}": (i2t[k] + t2i[k]) / 2 for k in ks}
    return out | {f"i2t R@{k}": i2t[k] for k in ks} | {f"t2i R@{k}": t2i[k] for k in ks}


def _refuse_strangers(owners: Sequence[int], pictures: int, texts: int, what: str) -> None:
    """ValueError unless every text has a picture, and every picture a text."""
    if len(owners) != texts or {*owners} != {*range(pictures)}:
        raise ValueError(
            f"{what}: each of {texts} texts needs one of {pictures} pictures, and each picture a text"
        )


def classification_accuracy(
    images: Tensor, prompts: Tensor, labels: Tensor, scorer: Scorer | None = None
) -> float:
    """Zero-shot accuracy in percent: every picture gets the class of its most similar prompt.

    Args:
        images: (N, D) embeddings.
        prompts: (C, D) embeddings of the class prompts, one per class.
        labels: (N,) class of each picture. Where classes tie, the first one is predicted.
        scorer: compares them; by default the dot product.

    Raises:
        ValueError: a label without a prompt, no pictures, or a score that is not finite.

    Example:
        >>> import torch
        >>> classification_accuracy(torch.eye(2), torch.eye(2), torch.tensor([0, 0]))
        50.0
    """
    if len(images) == 0 or labels.shape != images.shape[:1]:
        raise ValueError(f"each of the {len(images)} pictures needs one label, not {tuple(labels.shape)}")
    if ((labels < 0) | (labels >= len(prompts))).any():
        raise ValueError(f"labels must lie in 0..{len(prompts) - 1}, the classes that have a prompt")
    predicted = top_k(images, prompts if scorer is None else Scored(prompts, scorer), 1).squeeze(1)
    return 100.0 * (predicted == labels.to(predicted.device)).double().mean().item()
