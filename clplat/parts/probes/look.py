"""CLIP-IQA: does the model know a good photograph from a bad one, by pairs of opposite prompts?"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from PIL import Image, ImageFilter
from torch import Tensor

from clplat.data.records import Picture
from clplat.mechanisms.abstention import auroc
from clplat.mechanisms.prompted import antonym_share
from clplat.parts.probes._base import Group, ModelView, Probe

__all__ = ["Look"]


def _blurred(picture: Image.Image) -> Image.Image:
    return picture.filter(ImageFilter.GaussianBlur(max(1.0, min(picture.size) / 24)))


def _dark(picture: Image.Image) -> Image.Image:
    return picture.point(lambda value: value // 3)


def _grey(picture: Image.Image) -> Image.Image:
    return picture.convert("L").convert("RGB")


#: What is done to a picture, and the two prompts that should tell.
_DAMAGES: dict[str, tuple[Callable[[Image.Image], Image.Image], str, str]] = {
    "sharp": (_blurred, "Sharp photo.", "Blurry photo."),
    "bright": (_dark, "Bright photo.", "Dark photo."),
    "colourful": (_grey, "Colorful photo.", "Dull photo."),
}
_WHOLE = ("Good photo.", "Bad photo.")


class Look(Probe):
    """How often a picture looks better than its own damaged copy: by the softmax over two opposite prompts.

    Gallery pictures are blurred, darkened and made grey; ``sharp``, ``bright`` and ``colourful`` are percent
    of pictures whose share of the first prompt is above that of the copy, ties half, and ``told apart`` is
    their mean. ``quality`` is the mean share of "Good photo." beside "Bad photo.". ``failures`` says whether
    quality explains them: how often the reference of a query that was answered among the first ``k`` looks
    better than that of one that was not, in percent; 50 is chance, and what stands where none failed.

    Args:
        most: gallery pictures of each domain, evenly spread.
        k: see there.

    Raises:
        ValueError: a number below 1.

    Reference:
        Wang et al., "Exploring CLIP for Assessing the Look and Feel of Images" (CLIP-IQA), AAAI 2023,
        arXiv:2207.12396.

    Example:
        >>> Look().texts[:2]
        ('Good photo.', 'Bad photo.')
    """

    name = "look"
    group: Group = "robustness"
    headline = "told apart"

    def __init__(self, most: int = 50, k: int = 10) -> None:
        if min(most, k) < 1:
            raise ValueError(f"most and k must be at least 1, not {most} and {k}")
        self.most, self.k = most, k
        self.texts = (*_WHOLE, *(text for _, *pair in _DAMAGES.values() for text in pair))

    def measure(self, view: ModelView) -> dict[str, float]:
        """The six numbers."""
        said = dict(zip(self.texts, view.texts(self.texts).detach().double(), strict=True))
        shown = _pictures(view, self.most)
        whole, found = view.images(shown).detach().double(), dict[str, float]()
        for name, (damage, good, bad) in _DAMAGES.items():
            worse = view.images([_copy(picture, name, damage) for picture in shown]).detach().double()
            before, after = (antonym_share(rows, said[good], said[bad]) for rows in (whole, worse))
            found[name] = 100.0 * float(((before > after).double() + (before == after) / 2).mean())
        found["told apart"] = sum(found.values()) / len(found)
        found["quality"] = 100.0 * float(antonym_share(whole, *(said[text] for text in _WHOLE)).mean())
        found["failures"] = self._failures(view, *(said[text] for text in _WHOLE))
        return found

    def _failures(self, view: ModelView, good: Tensor, bad: Tensor) -> float:
        shown: dict[str, Picture] = {}
        asked: list[tuple[str, bool]] = []
        for name, held in view.sets.items():
            keys = [item.key for item in held.gallery.items]
            for query, rows in zip(held.queries, view.nearest(name, self.k).tolist(), strict=True):
                if query.reference is not None:
                    shown[query.reference.key] = query.reference
                    asked.append(
                        (query.reference.key, any(keys[row] in query.targets for row in rows if row >= 0))
                    )
        right = torch.tensor([hit for _, hit in asked], dtype=torch.bool)
        if not len(right) or right.all() or not right.any():
            return 50.0
        shares = dict(
            zip(
                shown,
                antonym_share(view.images(list(shown.values())).detach().double(), good, bad),
                strict=True,
            )
        )
        looks = torch.stack([shares[key] for key, _ in asked])
        return 100.0 * auroc(looks[right], looks[~right])


def _pictures(view: ModelView, most: int) -> list[Picture]:
    """Distinct gallery pictures, at most so many of each domain."""
    found: dict[str, Picture] = {}
    for held in view.sets.values():
        shown = [item.picture for item in held.gallery.items if item.picture is not None]
        found |= {picture.key: picture for picture in shown[:: -(-len(shown) // most) or 1]}
    return list(found.values())


def _copy(picture: Picture, name: str, damage: Callable[[Image.Image], Image.Image]) -> Picture:
    return Picture(f"{picture.key}#not {name}", partial(_damaged, picture, damage), stamp=picture.stamp)


def _damaged(picture: Picture, damage: Callable[[Image.Image], Image.Image]) -> Image.Image:
    return damage(picture.load())
