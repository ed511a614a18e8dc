"""CIRR: pairs of real-life pictures in groups of six, with the change in words."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from typing_extensions import NotRequired, TypedDict

from clplat.data.missing import MissingPictures
from clplat.data.picture_files import PictureFiles
from clplat.data.records import Domain, Example, Gallery, Protocol, Query, RetrievalSet, Triplet
from clplat.errors import UserError

from ._cir import Benchmark, Read, finished, read_json

__all__ = ["CIRR"]

#: Counted in the files of branch cirr_dataset, commit 2276fba; the queries of train are recalled.
_PUBLISHED = {
    "train/queries": 28225,
    "train/pictures": 16939,
    "val/queries": 4181,
    "val/pictures": 2297,
    "test1/queries": 4148,
    "test1/pictures": 2315,
}
_PROTOCOL = Protocol(
    "cirr/reference-excluded",
    exclude_reference=True,
    metrics=("R@1", "R@5", "R@10", "R@50", "R_sub@1", "R_sub@2", "R_sub@3"),
    primary="mean(R@5, R_sub@1)",
)


class _Group(TypedDict):
    members: list[str]


class _Entry(TypedDict):
    """One entry of a file of captions; those of test1 have no targets."""

    pairid: int
    reference: str
    caption: str
    img_set: _Group
    target_hard: NotRequired[str]
    target_soft: NotRequired[dict[str, float]]


class CIRR(Benchmark):
    """One domain: training triplets, the validation set, and test1, whose answers the server alone knows.

    Runs take ``--evaluation.split val``; test1 is ranked and kept, and ``clplat submit RUN --split test1``
    writes its two files. The gallery is all pictures of the split without the query's own reference; R_sub@K
    ranks the five other pictures of the reference's group. The primary metric is the mean of R@5 and R_sub@1.

    Scores of further pictures that could be right (``target_soft``) and the official ``pairid`` stay in
    ``extra`` of examples and queries; no metric uses them.

    Args:
        root: the folder with ``captions`` and ``image_splits``, or the folder ``cirr`` with them.
        images: the folder with ``train``, ``dev`` and ``test1``; by default the root, or its ``img_raw``.
        hidden: rank test1 as well; its answers are not public.
        missing: pictures that are not there are refused, or left out and declared.

    Reference:
        Liu et al., "Image Retrieval on Real-life Images with Pre-trained Vision-and-Language Models",
        ICCV 2021, arXiv:2108.04024.

    Example:
        >>> from tempfile import mkdtemp
        >>> from clplat.testing.twins import cirr
        >>> list(CIRR(str(cirr(Path(mkdtemp())))).build()[0][0].sets)
        ['val', 'test1']
    """

    def __init__(
        self,
        root: str,
        images: str | None = None,
        hidden: bool = True,
        missing: MissingPictures = "refuse",
    ) -> None:
        self.root, self.images, self.hidden, self.missing = root, images, hidden, missing

    @property
    def published(self) -> dict[str, int]:
        """Counts of the official files by name: queries and pictures of each split."""
        return {n: k for n, k in _PUBLISHED.items() if self.hidden or not n.startswith("test1")}

    def refuse_missing(self) -> None:
        """Raise UserError where there is no such root; nothing is read."""
        PictureFiles(self.root, "cirr")

    @cached_property
    def _read(self) -> Read:
        self.refuse_missing()
        root = Path(self.root).expanduser()
        notes = root if (root / "captions").is_dir() else root / "cirr"
        images = self.images or (root / "img_raw" if (root / "img_raw").is_dir() else root)
        files = PictureFiles(images, "cirr")
        read = {split: _Split(notes, split, files) for split in ("train", "val", *["test1"] * self.hidden)}
        sets = {split: one.asked() for split, one in read.items() if split != "train"}
        counts = {f"{split}/queries": len(one.entries) for split, one in read.items()}
        counts |= {f"{split}/pictures": len(one.pictures) for split, one in read.items()}
        domain = Domain("cirr", read["train"].triplets(), sets=sets)
        return finished(Read([domain], counts, self.published), [files], self.missing, "cirr")


class _Split:
    """One split's annotations, with a picture for each of its names."""

    def __init__(self, root: Path, split: str, files: PictureFiles) -> None:
        self.split, self.path = split, root / "captions" / f"cap.rc2.{split}.json"
        named = root / "image_splits" / f"split.rc2.{split}.json"
        paths: dict[str, str] = read_json(named, dict[str, str], "list of pictures of CIRR", "cirr")
        self.pictures = {name: files.picture(str(PurePosixPath(path))) for name, path in paths.items()}
        self.entries: list[_Entry] = read_json(self.path, list[_Entry], "list of captions of CIRR", "cirr")
        for i, entry in enumerate(self.entries):
            self._check(i, entry)

    def _check(self, i: int, entry: _Entry) -> None:
        members, named = entry["img_set"]["members"], [entry["reference"]]
        if ("target_hard" in entry) == (self.split == "test1"):
            raise UserError(
                f"{self.path}, entry {i}: target_hard belongs to train and val, and to each of them"
            )
        named += [entry["target_hard"]] if "target_hard" in entry else []
        if strange := [name for name in (*members, *named) if name not in self.pictures]:
            raise UserError(f"{self.path}, entry {i}: '{strange[0]}' is none of the split's pictures")
        if len(set(members)) != 6 or not set(named) <= set(members):
            raise UserError(
                f"{self.path}, entry {i}: its group must be six pictures, the reference and target of them"
            )

    def triplets(self) -> Sequence[Example]:
        made = []
        for i, entry in enumerate(self.entries):
            target = self.pictures[entry.get("target_hard", "")]
            name = f"cirr/{self.split}/{i:05d}"
            reference, text = self.pictures[entry["reference"]], entry["caption"]
            made.append(Triplet(name, reference, text, target, target.key, "cirr", extra=_extra(entry)))
        return made

    def asked(self) -> RetrievalSet:
        gallery = Gallery(f"cirr/{self.split}", pictures=list(self.pictures.values()))
        queries = tuple(self._query(i, entry) for i, entry in enumerate(self.entries))
        return RetrievalSet(queries, gallery, _PROTOCOL, "hidden" if self.split == "test1" else "known")

    def _query(self, i: int, entry: _Entry) -> Query:
        reference = self.pictures[entry["reference"]]
        targets = (self.pictures[entry["target_hard"]].key,) if "target_hard" in entry else ()
        group = [self.pictures[name].key for name in entry["img_set"]["members"]]
        others = tuple(key for key in group if key != reference.key)
        name = f"cirr/{self.split}/{i:05d}"
        return Query(name, reference, entry["caption"], targets, candidates=others, extra=_extra(entry))


def _extra(entry: _Entry) -> dict[str, Any]:
    soft = entry.get("target_soft")
    return {"id": entry["pairid"]} | ({"target_soft": soft} if soft is not None else {})
