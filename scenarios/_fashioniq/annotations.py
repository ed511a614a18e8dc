"""FashionIQ's annotations: its files and their published counts, and how two captions become texts."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from typing_extensions import NotRequired, TypedDict

from clplat.errors import UserError

from .._cir import read_json

__all__ = ["CATEGORIES", "JOINS", "PUBLISHED", "Annotations", "Entry", "forms", "texts_of"]

CATEGORIES = ("dress", "shirt", "toptee")
JOINS = ("clip4cir", "searle", "pic2word", "separate")

_QUERIES = {"dress": (5985, 2017, 2024), "shirt": (5988, 2038, 2038), "toptee": (6027, 1961, 2056)}
_PICTURES = {"dress": (11452, 3817, 3818), "shirt": (19036, 6346, 6346), "toptee": (16121, 5373, 5374)}

#: ``<category>/<split>/<what>`` -> how many there are in the official files.
PUBLISHED = {
    f"{category}/{split}/{what}": counts[category][i]
    for category in CATEGORIES
    for what, counts in (("queries", _QUERIES), ("pictures", _PICTURES))
    for i, split in enumerate(("train", "val", "test"))
}


class Entry(TypedDict):
    """One entry of a file of captions; those of test have no target."""

    __pydantic_config__ = {"extra": "forbid"}  # type: ignore[misc]  # noqa: RUF012

    candidate: str
    captions: list[str]
    target: NotRequired[str]


class Annotations:
    """The files of a root; each is read once.

    Args:
        root: with the folders ``captions`` and ``image_splits``.
    """

    def __init__(self, root: str) -> None:
        self.root = Path(root).expanduser()
        self._read = cache(read_json)

    def entries(self, category: str, split: str) -> list[Entry]:
        """The queries of a split.

        Raises:
            UserError: as `read_json`; an entry without a target, or with other than two captions.
        """
        path = self.root / "captions" / f"cap.{category}.{split}.json"
        found: list[Entry] = self._read(path, list[Entry], "list of captions of FashionIQ", "fashioniq")
        for i, entry in enumerate(found):
            if len(entry["captions"]) != 2:
                raise UserError(
                    f"{path}, entry {i}: it has {len(entry['captions'])} captions; two are allowed"
                )
            if ("target" in entry) == (split == "test"):
                raise UserError(f"{path}, entry {i}: a target belongs to train and val, and to each of them")
        return found

    def names(self, category: str, split: str) -> list[str]:
        """The pictures of a split.

        Raises:
            UserError: as `read_json`.
        """
        path = self.root / "image_splits" / f"split.{category}.{split}.json"
        found: list[str] = self._read(path, list[str], "list of pictures of FashionIQ", "fashioniq")
        return found

    def gallery(self, category: str, split: str, which: str) -> list[str]:
        """``original``: the pictures of the split; ``val``: those that its queries name, in their order."""
        if which == "original":
            return self.names(category, split)
        named: dict[str, Any] = {}
        for entry in self.entries(category, split):
            named |= dict.fromkeys([entry["candidate"], *([entry["target"]] if "target" in entry else [])])
        return list(named)


def texts_of(captions: list[str], join: str) -> list[tuple[str, ...]]:
    """The texts of the queries that an entry makes: one query, or one for each caption.

    Example:
        >>> texts_of(["is red.", "has a bow"], "clip4cir"), texts_of(["is red.", "has a bow"], "searle")
        ([('Is red and has a bow',)], [('is red and has a bow', 'has a bow and is red')])
    """
    first, second = captions
    if join == "clip4cir":
        return [(forms(captions)[0],)]
    if join == "pic2word":
        return [(f"{second} and {first}",)]
    one, two = _bare(first), _bare(second)
    if join == "searle":
        return [(f"{one} and {two}", f"{two} and {one}")]
    return [(caption.strip(),) for caption in captions if caption.strip()]


def forms(captions: list[str]) -> list[str]:
    """The four texts of which CLIP4Cir draws one at each training step, the one for validation first."""
    one, two = map(_bare, captions)
    big, other = one.capitalize(), two.capitalize()
    return [f"{big} and {two}", f"{other} and {one}", big, other]


def _bare(caption: str) -> str:
    return caption.strip(".?, ")
