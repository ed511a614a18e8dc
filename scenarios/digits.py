"""Scikit-learn's digits, a few classes at a time: the smallest class-incremental stream, without any file."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property, lru_cache, partial
from typing import Any, ClassVar, Literal

from PIL import Image

from clplat.data.folders import split_of
from clplat.data.items import Picture
from clplat.data.records import Domain
from clplat.extras import named_extras
from clplat.parts import Probe

from ._classes.sets import LabelledSet, Shown
from ._classes.stream import class_domains, parts_of
from ._stream import Stream

__all__ = ["Digits"]

_TITLES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


class Digits(Stream):
    """1,797 written digits of 8 x 8 grey values; a picture asks, and the prompts of the digits answer.

    Pictures are split 60 / 15 / 25 by a hash of their numbers. R@1 is accuracy; a digit is asked of the
    digits of all domains and of those of its own, and both are measured.

    Args:
        experiences: domains, each with as many digits.
        shuffle: seed of the order of the digits; by default 0 to 9.
        among: the digits that ``test`` asks of, ``own`` or ``all``.
        templates: prompts with ``{}`` in place of the digit; training reads the first.

    Raises:
        ValueError: experiences that are not 1 to 10, no template, or one without ``{}``.

    Example:
        >>> [domain.name for domain in Digits(experiences=2).build()[0]]
        ['digits-1', 'digits-2']
    """

    published: ClassVar[Mapping[str, int]] = {"digits/classes": 10, "digits/pictures": 1797}

    def __init__(
        self,
        experiences: int = 5,
        shuffle: int | None = None,
        among: Literal["own", "all"] = "all",
        templates: list[str] | None = None,
    ) -> None:
        if not 1 <= experiences <= 10:
            raise ValueError(f"experiences must be 1 to 10, not {experiences}")
        if templates is not None and (not templates or any("{}" not in one for one in templates)):
            raise ValueError("templates must each hold {} in place of the digit, and there must be one")
        if among not in ("own", "all"):
            raise ValueError(f"among must be own or all, not {among}")
        self.experiences, self.shuffle, self.among, self.templates = experiences, shuffle, among, templates

    def build(self) -> tuple[list[Domain], list[Probe]]:
        """Return the domains in stream order and no probes; the same objects at every call."""
        return self._domains, []

    @property
    def report(self) -> dict[str, Any]:
        """What scikit-learn has: plain values for a log."""
        labels = _table()[1]
        return {"counts": {"digits/classes": len(set(labels)), "digits/pictures": len(labels)}}

    @cached_property
    def _domains(self) -> list[Domain]:
        splits: dict[str, list[Shown]] = {"train": [], "val": [], "test": []}
        for i, label in enumerate(_table()[1]):
            picture = Picture(f"digits/{i:04d}", partial(_draw, i), _TITLES[label])
            splits[split_of(picture.key)].append((picture, int(label)))
        templates = self.templates or ['a photo of the number: "{}".']
        held = LabelledSet("digits", _TITLES, templates, splits)
        return class_domains(parts_of(held, self.experiences, self.shuffle), self.among)


@lru_cache(maxsize=1)
def _table() -> Any:
    with named_extras("scenario digits"):
        from sklearn.datasets import load_digits
    found = load_digits()
    return (found.images * 15).astype("uint8"), found.target


def _draw(row: int) -> Image.Image:
    return Image.fromarray(_table()[0][row]).convert("RGB")
