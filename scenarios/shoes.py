"""Shoes: pictures of ten kinds of shoes, asked for by another one and a sentence."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Literal

from typing_extensions import TypedDict

from clplat.data.missing import MissingPictures
from clplat.data.picture_files import PictureFiles
from clplat.data.records import Domain, Example, Gallery, Protocol, Query, RetrievalSet, Triplet
from clplat.errors import UserError

from ._cir import Benchmark, Read, existing_file, finished, read_json

__all__ = ["Shoes"]

_PUBLISHED = {
    "train/queries": 8990,
    "test/queries": 1761,
    "train/pictures": 10000,
    "test/pictures": 4658,
}
_LISTS = {"train": "train_im_names.txt", "test": "eval_im_names.txt"}


class Shoes(Benchmark):
    """One domain; every query and example has the tag ``category``, the kind of its target.

    The gallery is the list of evaluation pictures. R@1, R@10, R@50 and their mean.

    Args:
        root: the folder with ``relative_captions_shoes.json``, ``train_im_names.txt`` and
            ``eval_im_names.txt``.
        images: the folder of pictures, at any depth below it; by default the root.
        reference: ``"excluded"`` removes the reference from the ranking, as the code of ARTEMIS does;
            ``"kept"`` leaves it there.
        missing: pictures that are not there are refused, or left out and declared.

    Reference:
        Guo et al., "Dialog-based Interactive Image Retrieval", NeurIPS 2018, arXiv:1805.00145; pictures of
        Berg et al., "Automatic Attribute Discovery and Characterization from Noisy Web Data", ECCV 2010.
        Metrics as in naver/artemis at 8204c7e.

    Example:
        >>> from tempfile import mkdtemp
        >>> from clplat.testing.twins import shoes
        >>> domain = Shoes(str(shoes(Path(mkdtemp())))).build()[0][0]
        >>> domain.name, domain.test.protocol.name
        ('shoes', 'shoes/reference-excluded')
    """

    published = _PUBLISHED

    def __init__(
        self,
        root: str,
        images: str | None = None,
        reference: Literal["excluded", "kept"] = "excluded",
        missing: MissingPictures = "refuse",
    ) -> None:
        self.root, self.images, self.reference, self.missing = root, images, reference, missing

    def refuse_missing(self) -> None:
        """Raise UserError where there is no such root; nothing is read."""
        PictureFiles(self.root, "shoes")

    @cached_property
    def _read(self) -> Read:
        self.refuse_missing()
        root = Path(self.root).expanduser()
        files = PictureFiles(self.images or root, "shoes", flat=True)
        names = {split: _names(root / name) for split, name in _LISTS.items()}
        path = root / "relative_captions_shoes.json"
        entries = read_json(path, list[_Entry], "list of captions of Shoes", "shoes")
        held = {split: frozenset(listed) for split, listed in names.items()}
        asked: dict[str, list[tuple[int, _Entry]]] = {split: [] for split in names}
        for number, entry in enumerate(entries):
            both = {entry["ReferenceImageName"], entry["ImageName"]}
            split = next((split for split in names if both <= held[split]), None)
            if split is None:
                lists, named = ", ".join(_LISTS.values()), " and ".join(sorted(both))
                raise UserError(f"{path}, entry {number}: {named} are not in one of {lists}")
            asked[split].append((number, entry))
        gallery = Gallery("shoes-test", files.pictures(names["test"]))
        queries = tuple(_query(number, entry, files) for number, entry in asked["test"])
        train = [_triplet(number, entry, files) for number, entry in asked["train"]]
        domain = Domain("shoes", train, test=RetrievalSet(queries, gallery, self._protocol))
        counts = {f"{split}/queries": len(asked[split]) for split in names}
        counts |= {f"{split}/pictures": len(listed) for split, listed in names.items()}
        return finished(Read([domain], counts, self.published), [files], self.missing, "shoes")

    @property
    def _protocol(self) -> Protocol:
        return Protocol(
            f"shoes/reference-{self.reference}",
            exclude_reference=self.reference == "excluded",
            metrics=("R@1", "R@10", "R@50"),
            primary="mean(R@1, R@10, R@50)",
        )


class _Entry(TypedDict):
    ImageName: str
    ReferenceImageName: str
    RelativeCaption: str


def _names(path: Path) -> list[str]:
    """The pictures of a list, each once, without empty lines."""
    lines = existing_file(path, "shoes").read_text(encoding="utf-8").split("\n")
    return list(dict.fromkeys(line.strip() for line in lines if line.strip()))


def _category(name: str) -> str:
    """``img_womens_athletic_shoes_12.jpg`` -> ``athletic shoes``."""
    bare = name.rpartition(".")[0].removeprefix("img_").removeprefix("womens_")
    return " ".join(word for word in bare.split("_") if not word.isdigit()) or "other"


def _query(number: int, entry: _Entry, files: PictureFiles) -> Query:
    target = files.picture(entry["ImageName"])
    reference = files.picture(entry["ReferenceImageName"])
    tags = {"category": _category(entry["ImageName"])}
    return Query(str(number), reference, entry["RelativeCaption"].strip(), (target.key,), tags)


def _triplet(number: int, entry: _Entry, files: PictureFiles) -> Example:
    reference, target = (files.picture(name) for name in (entry["ReferenceImageName"], entry["ImageName"]))
    groups = {"category": _category(entry["ImageName"])}
    text = entry["RelativeCaption"].strip()
    return Triplet(str(number), reference, text, target, target.key, "shoes", groups=groups)
