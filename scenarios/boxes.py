"""Objects cut out of pictures by boxes, as Open Images has them: a crop asks, and the classes answer."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import Any, ClassVar

from PIL import Image

from clplat.data.counts import count_remarks
from clplat.data.folders import existing
from clplat.data.items import Picture
from clplat.data.missing import MissingPictures
from clplat.data.picture_files import PictureFiles
from clplat.data.records import Domain
from clplat.errors import UserError, unknown_name
from clplat.parts import Probe

from ._classes.sets import LabelledSet, Shown
from ._classes.stream import class_domains, parts_of
from ._stream import Stream

__all__ = ["Boxes"]

_SIDES = ("XMin", "YMin", "XMax", "YMax")
_FILES = {"train": "train", "val": "validation", "test": "test"}


class Boxes(Stream):
    """Class-incremental: each domain has some classes; crops of objects are asked of their prompts.

    Boxes of groups and of drawings are left out. Who has a part of Open Images declares what is missing.

    Args:
        root: folder of ``class-descriptions-boxable.csv``, of ``<split>-annotations-bbox.csv`` and of the
            pictures ``<split>/<ImageID>.jpg``, with split train, validation or test.
        classes: their names, such as ``[Dog, Cat, Car, Chair]``.
        experiences: domains.
        shuffle: seed of the order of classes; by default as they are named.
        least: the shorter side of a box, as a share of the picture's.
        templates: prompts with ``{}`` in place of the class.
        train: the most crops per domain, balanced over classes.
        queries: the most crops per domain and split, balanced over classes.
        missing: refuse the stream where pictures are missing, or leave their boxes out, before any are
            chosen, and declare it.

    Raises:
        ValueError: fewer than two classes, one twice, a template without ``{}``, a number out of its range.

    Reference:
        Kuznetsova et al., "The Open Images Dataset V4: Unified Image Classification, Object Detection, and
        Visual Relationship Detection at Scale", IJCV 2020, arXiv:1811.00982.

    Example:
        >>> Boxes("data", ["Dog", "Cat"]).published["classes"]
        600
    """

    #: Boxes of all classes, as the site counts them since V5; V4 had 204,621 for val and 625,282 for test.
    published: ClassVar[Mapping[str, int]] = {
        **{"classes": 600, "train": 14610229, "val": 303980, "test": 937327},
    }

    def __init__(
        self,
        root: str,
        classes: list[str],
        experiences: int = 2,
        shuffle: int | None = None,
        least: float = 0.1,
        templates: list[str] | None = None,
        train: int | None = None,
        queries: int | None = None,
        missing: MissingPictures = "refuse",
    ) -> None:
        if len(classes) < 2 or len(set(classes)) < len(classes):
            raise ValueError(f"classes must name at least two, each once, not {classes}")
        for name, value in (("experiences", experiences), ("train", train), ("queries", queries)):
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}")
        if templates is not None and (not templates or any("{}" not in one for one in templates)):
            raise ValueError("templates must each hold {} in place of the class, and there must be one")
        if not 0 <= least < 1:
            raise ValueError(f"least must be at least 0 and below 1, not {least}")
        if missing not in ("refuse", "declare"):
            raise ValueError(f"missing must be refuse or declare, not {missing}")
        self.missing = missing
        self.root, self.classes, self.experiences, self.shuffle = root, classes, experiences, shuffle
        self.least, self.templates, self.train, self.queries = least, templates, train, queries

    def refuse_missing(self) -> None:
        """Raise UserError where there is no such root; nothing is read."""
        existing(self.root)

    def build(self) -> tuple[list[Domain], list[Probe]]:
        """Return the domains in stream order and no probes; the same objects at every call."""
        return self._domains, []

    @property
    def report(self) -> dict[str, Any]:
        """What was read and what was left out: plain values for a log."""
        held, gone, counts = self._held
        boxes = {split: len(shown) for split, shown in held.splits.items()}
        return {"root": self.root, "boxes": boxes, "counts": counts, "missing": {"pictures": len(gone)}}

    @property
    def remarks(self) -> list[str]:
        """What a reader of the numbers should know of the data, a line each."""
        _, gone, counts = self._held
        lost = [f"{len(gone)} pictures with boxes are missing: {', '.join(gone[:3])}"] if gone else []
        return count_remarks(counts, self.published) + lost

    @cached_property
    def _domains(self) -> list[Domain]:
        parts = parts_of(self._held[0], self.experiences, self.shuffle)
        return class_domains(parts, "own", self.train, self.queries)

    @cached_property
    def _held(self) -> tuple[LabelledSet, list[str], dict[str, int]]:
        files = PictureFiles(self.root, "boxes")
        labels = self._labels(files.root / "class-descriptions-boxable.csv")
        found: dict[str, list[Shown]] = {}
        counts, kinds = dict.fromkeys(("classes", *_FILES), 0), set[str]()
        for split, name in _FILES.items():
            found[split] = []
            for row in _rows(files.root / f"{name}-annotations-bbox.csv", ("ImageID", "LabelName", *_SIDES)):
                counts[split] += 1
                kinds.add(row["LabelName"])
                box = (float(row["XMin"]), float(row["YMin"]), float(row["XMax"]), float(row["YMax"]))
                small = min(box[2] - box[0], box[3] - box[1]) < self.least
                odd = row.get("IsGroupOf") == "1" or row.get("IsDepiction") == "1"
                if row["LabelName"] in labels and not small and not odd:
                    whole = files.picture(f"{name}/{row['ImageID']}")
                    found[split].append((_crop(whole, box), labels[row["LabelName"]]))
        gone = set(files.absent)
        if gone and self.missing == "refuse":
            raise UserError(
                f"scenario boxes: {len(gone)} pictures with boxes are missing: {', '.join(sorted(gone)[:3])}"
                "; put them there, or measure without them and say so: --scenario.missing declare"
            )
        kept = {
            split: [
                one for one in {p.key: (p, label) for p, label in shown}.values() if _whole(one) not in gone
            ]
            for split, shown in found.items()
        }
        templates = self.templates or ["a photo of a {}."]
        titles = [name.lower() for name in self.classes]
        held = LabelledSet("boxes", titles, templates, kept)
        return held, sorted(gone), counts | {"classes": len(kinds)}

    def _labels(self, path: Path) -> dict[str, int]:
        """Label of Open Images -> the place of its class."""
        try:
            with path.open(encoding="utf-8", newline="") as file:
                names = {row[1]: row[0] for row in csv.reader(file) if len(row) == 2}
        except FileNotFoundError:
            raise UserError(f"no such file: {path}") from None
        for name in self.classes:
            if name not in names:
                raise unknown_name("class of Open Images", name, names)
        return {names[name]: place for place, name in enumerate(self.classes)}


def _rows(path: Path, needed: tuple[str, ...]) -> Iterator[dict[str, str]]:
    if not path.is_file():
        raise UserError(f"no such file: {path}")
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        if lacking := [name for name in needed if name not in (reader.fieldnames or ())]:
            raise UserError(f"{path} has no column {lacking[0]}")
        yield from reader


def _crop(whole: Picture, box: tuple[float, float, float, float]) -> Picture:
    key = whole.key + "@" + ",".join(f"{side:.4f}" for side in box)
    return Picture(key, partial(_cut, whole.load, box), stamp=whole.stamp)


def _whole(shown: Shown) -> str:
    return shown[0].key.rpartition("@")[0]


def _cut(load: Callable[[], Image.Image], box: tuple[float, float, float, float]) -> Image.Image:
    picture = load()
    left, top = int(box[0] * picture.width), int(box[1] * picture.height)
    right = max(left + 1, round(box[2] * picture.width))
    bottom = max(top + 1, round(box[3] * picture.height))
    return picture.crop((left, top, right, bottom))
