"""What is read of a labelled picture set: names of pictures, and their classes, by split."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from clplat.errors import UserError, nearest

__all__ = ["Listing", "Named", "by_class", "eighty_twenty", "entries", "lines"]

#: A picture's name below the root, and the place of its class.
Named = tuple[str, int]


@dataclass(frozen=True)
class Listing:
    """A labelled set.

    Args:
        classes: as the source names them, in its order.
        splits: ``train``, ``test`` and, where the source has one, ``val``, each in the source's order.
        titles: what prompts call the classes, where the source says so itself.
    """

    classes: Sequence[str]
    splits: dict[str, list[Named]]
    titles: Sequence[str] = field(default=())


def lines(path: Path) -> list[str]:
    """The lines of a text file that are not empty.

    Raises:
        UserError: there is no such file; the nearest name is offered.
    """
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except FileNotFoundError:
        beside = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        raise UserError(f"no such file: {path}{nearest(path.name, beside)}") from None


def entries(folder: Path, folders: bool) -> list[str]:
    """Names of the folders, or of the files, in a folder, sorted; hidden ones are left out.

    Raises:
        UserError: there is no such folder.
    """
    try:
        with os.scandir(folder) as held:
            found = [e.name for e in held if e.is_dir() == folders and not e.name.startswith((".", "__"))]
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"no such folder: {folder}") from None
    return sorted(found)


def by_class(pairs: Iterable[tuple[str, str]], classes: Sequence[str], where: str) -> list[Named]:
    """Pictures with their class's name -> with its place among ``classes``.

    Raises:
        UserError: a class that is none of them.
    """
    place = {name: i for i, name in enumerate(classes)}
    found = []
    for picture, name in pairs:
        if name not in place:
            raise UserError(f"{where}: picture {picture} is of class '{name}'{nearest(name, place)}")
        found.append((picture, place[name]))
    return found


def eighty_twenty(pictures: Sequence[Named]) -> dict[str, list[Named]]:
    """Four fifths to train on, drawn as MTIL's code draws them: torch's permutation of seed 42."""
    order = torch.randperm(len(pictures), generator=torch.Generator().manual_seed(42)).tolist()
    cut = int(0.8 * len(pictures))
    return {"train": [pictures[i] for i in order[:cut]], "test": [pictures[i] for i in order[cut:]]}
