"""Labelled picture sets by name: how each is read, what its classes are called, and its source's counts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from clplat.config.reading import read_yaml
from clplat.data.folders import stable_hash
from clplat.data.items import Item, Picture
from clplat.data.picture_files import PictureFiles
from clplat.errors import UserError

from . import arrays
from . import files as picture_sets
from .files import class_folders
from .listing import Listing, Named

__all__ = ["SETS", "LabelledSet", "Shown", "facts", "read_set"]

#: A picture, and the place of its class.
Shown = tuple[Picture, int]

#: Name -> what lists a set below a root.
SETS: dict[str, Callable[[Path], Listing]] = {
    "aircraft": picture_sets.aircraft,
    "caltech101": picture_sets.caltech101,
    "cars": picture_sets.cars,
    "cifar10": arrays.cifar10,
    "cifar100": arrays.cifar100,
    "dtd": picture_sets.dtd,
    "eurosat": picture_sets.eurosat,
    "flowers": picture_sets.flowers,
    "food": picture_sets.food,
    "mnist": arrays.mnist,
    "pets": picture_sets.pets,
    "sun397": picture_sets.sun397,
}


@dataclass(frozen=True)
class LabelledSet:
    """Pictures with classes, and what the classes are called.

    Args:
        name: the beginning of its keys and of its domains' names.
        titles: of the classes, as prompts say them.
        templates: prompts, with ``{}`` in place of the class.
        splits: ``train``, ``test`` and perhaps ``val``.
        keys: of the classes, where two may be called the same; by default their titles.
    """

    name: str
    titles: Sequence[str]
    templates: Sequence[str]
    splits: Mapping[str, Sequence[Shown]]
    keys: Sequence[str] = ()

    def key(self, label: int) -> str:
        """Names a class in galleries and labels."""
        return f"{self.name}/{(self.keys or self.titles)[label]}"

    def prompt(self, label: int) -> Item:
        """The class as an entry of a gallery: all its prompts."""
        first, *rest = (template.replace("{}", self.titles[label]) for template in self.templates)
        return Item(self.key(label), text=first, texts=tuple(rest))


@cache
def facts(name: str) -> Mapping[str, Any]:
    """Prompts, names of classes and counts of a known set; nothing of any other."""
    path = Path(__file__).parent / "facts" / f"{name}.yaml"
    return read_yaml(path, "the facts") if name in SETS else {}


def read_set(
    files: PictureFiles,
    name: str,
    templates: Sequence[str] | None = None,
    words: Mapping[str, str] | None = None,
    validation: float = 0.1,
) -> LabelledSet:
    """Read one labelled set; no picture is opened.

    Args:
        files: of the root that the sets lie in.
        name: a key of `SETS`, or of a folder with folders of classes.
        templates: prompts in place of its own.
        words: names of classes in place of its own.
        validation: share of the training pictures that are held out where the set has no split for it.

    Raises:
        UserError: a file or folder is missing or not as described.
    """
    root, known = files.root, facts(name)
    if name not in SETS and not (root / name).is_dir():
        raise UserError(
            f"'{name}' is no folder in {root} and none of the sets that are known: {', '.join(SETS)}"
        )
    listed = SETS[name](root) if name in SETS else class_folders(root, name)
    listed = _held_out(listed, name, validation)
    plain = known.get("classes") or listed.titles or [c.replace("_", " ") for c in listed.classes]
    renamed = {**known.get("names", {}), **(words or {})}
    titles = [renamed.get(c, title) for c, title in zip(listed.classes, plain, strict=False)]
    twice = next((title for title in titles if titles.count(title) > 1), None)
    if twice is not None:
        raise UserError(f"two classes of {name} are called '{twice}'; tell them apart by words")
    splits = {
        split: [(_picture(files, picture), label) for picture, label in named]
        for split, named in listed.splits.items()
    }
    return LabelledSet(name, titles, templates or known.get("templates") or ["a photo of a {}."], splits)


def _held_out(listed: Listing, name: str, share: float) -> Listing:
    """With a split for validation, by a hash of the names, where there is none."""
    if "val" in listed.splits or share == 0:
        return listed
    train: list[Named] = []
    val: list[Named] = []
    for picture, label in listed.splits["train"]:
        held = stable_hash("validation", picture) < share * 2**64
        (val if held else train).append((picture, label))
    return Listing(listed.classes, {**listed.splits, "train": train, "val": val}, listed.titles)


def _picture(files: PictureFiles, name: str) -> Picture:
    if "#" in name and not (files.root / name).is_file():
        return arrays.array_picture(files.root, name, f"{files.source}/{name}")
    return files.picture(name)
