"""Data types of pictures, one after the other: rotated, noisy, drawn, ...; made of any labelled pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar

from clplat.data.counts import count_remarks
from clplat.data.folders import existing
from clplat.data.items import Item, Picture
from clplat.data.missing import Absent, MissingPictures, without_missing
from clplat.data.picture_files import PictureFiles
from clplat.data.records import Domain, Gallery, Protocol, Query, RetrievalSet, Triplet
from clplat.data.validate import validate_domain
from clplat.parts import Probe

from ._changes.operations import OPERATIONS, changed
from ._classes.sets import read_set
from ._classes.stream import Part
from ._stream import Stream

__all__ = ["DataTypes"]

_COMPOSED = Protocol("data-types/all-types", exclude_reference=True, ks=(1, 5, 10), primary="R@1")
_IDENTIFIED = Protocol("data-types/identify", exclude_reference=False, metrics=("R@1", "R@5"), primary="R@1")


class DataTypes(Stream):
    """A domain is a data type: a picture and "rotate it to the left" ask for the same picture, rotated.

    The gallery holds every test picture in every type and as it is, so that both the picture and the change
    must be understood. ``test/identify`` is the task of the paper: of which type is a picture?

    Args:
        root: the folder that the pictures' set lies in.
        pictures: name of the set, as of scenario ``classification``: one that torchvision knows, or a folder
            ``<name>/<class>/*``.
        types: in stream order; by default all that are operations.
        train: the most training pictures, balanced over classes; each is changed in every domain.
        queries: the most pictures in val and in test, balanced over classes.
        missing: refuse the stream where pictures are missing, or leave them out and declare it.

    Raises:
        ValueError: no type, one of them twice or unknown, a number below 1.

    Reference:
        Udandarao et al., "Visual Data-Type Understanding does not emerge from Scaling Vision-Language
        Models", ICLR 2024, arXiv:2310.08577.

    Example:
        >>> len(DataTypes("data", "pets").types)
        15
    """

    #: Of the paper; those that no operation makes (plush toys, tattoos, snow, ...) are not here.
    published: ClassVar[Mapping[str, int]] = {"types": 27}

    def __init__(
        self,
        root: str,
        pictures: str,
        types: list[str] | None = None,
        train: int = 600,
        queries: int = 60,
        missing: MissingPictures = "refuse",
    ) -> None:
        types = list(OPERATIONS) if types is None else types
        unknown = [name for name in types if name not in OPERATIONS]
        if not types or len(set(types)) < len(types) or unknown:
            raise ValueError(f"types must be some of {', '.join(OPERATIONS)}, each once, not {types}")
        for name, value in (("train", train), ("queries", queries)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}")
        if missing not in ("refuse", "declare"):
            raise ValueError(f"missing must be refuse or declare, not {missing}")
        self.root, self.pictures, self.types = root, pictures, types
        self.train, self.queries, self.missing = train, queries, missing

    def refuse_missing(self) -> None:
        """Raise UserError where there is no such root; nothing is read."""
        existing(self.root)

    def build(self) -> tuple[list[Domain], list[Probe]]:
        """Return the domains in stream order and no probes; the same objects at every call."""
        return self._built[0], []

    @property
    def report(self) -> dict[str, Any]:
        """What was read and what was left out: plain values for a log."""
        counts = {"types": len(self.types)}
        return {"root": self.root, "types": self.types, "counts": counts, "missing": self._built[1].report}

    @property
    def remarks(self) -> list[str]:
        """What a reader of the numbers should know of the data, a line each."""
        return count_remarks(self.report["counts"], self.published) + self._built[1].remarks

    @cached_property
    def _built(self) -> tuple[list[Domain], Absent]:
        files = PictureFiles(self.root, "data-types")
        held = read_set(files, self.pictures)
        whole = Part(held.name, held, tuple(range(len(held.titles))))
        shown = {
            split: [picture for picture, _ in whole.pictures(split, most)]
            for split, most in (("train", self.train), ("val", self.queries), ("test", self.queries))
        }
        galleries = {split: self._gallery(split, shown[split]) for split in ("val", "test")}
        domains = []
        for name in self.types:
            sets = {}
            for split, gallery in galleries.items():
                sets[split] = RetrievalSet(_composed(name, shown[split]), gallery, _COMPOSED)
                sets[f"{split}/identify"] = RetrievalSet(
                    _identified(name, shown[split]), self._prompts, _IDENTIFIED
                )
            domains.append(Domain(name, _triplets(name, shown["train"]), sets=sets))
            validate_domain(domains[-1])
        absent = [gone for key in files.absent for gone in (key, *(f"{key}~{name}" for name in self.types))]
        return without_missing(domains, absent, self.missing, "data_types")

    def _gallery(self, split: str, pictures: Sequence[Picture]) -> Gallery:
        made = [changed(picture, name) for picture in pictures for name in self.types]
        return Gallery(f"data-types/{split}", pictures=[*pictures, *made])

    @cached_property
    def _prompts(self) -> Gallery:
        return Gallery("data-types/prompts", [Item(name, text=OPERATIONS[name].noun) for name in self.types])


def _composed(name: str, pictures: Sequence[Picture]) -> tuple[Query, ...]:
    operation = OPERATIONS[name]
    return tuple(
        Query(f"{name}/{p.key}", p, operation.change, (f"{p.key}~{name}",), {"kind": operation.kind})
        for p in pictures
    )


def _identified(name: str, pictures: Sequence[Picture]) -> tuple[Query, ...]:
    made = [changed(picture, name) for picture in pictures]
    return tuple(Query(picture.key, picture, None, (name,)) for picture in made)


def _triplets(name: str, pictures: Sequence[Picture]) -> tuple[Any, ...]:
    made = [changed(picture, name) for picture in pictures]
    return tuple(
        Triplet(target.key, picture, OPERATIONS[name].change, target, target.key, name)
        for picture, target in zip(pictures, made, strict=True)
    )
