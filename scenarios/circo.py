"""CIRCO: composed queries with several right answers among the 123,403 unlabelled pictures of COCO."""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path
from typing import Literal

from typing_extensions import NotRequired, TypedDict

from clplat.data.missing import MissingPictures
from clplat.data.picture_files import PictureFiles
from clplat.data.records import Domain, Gallery, Picture, Protocol, Query, RetrievalSet
from clplat.data.uncollected import uncollected
from clplat.errors import UserError

from ._cir import Benchmark, Read, existing_file, finished, read_json

__all__ = ["CIRCO"]

_KS = (5, 10, 25, 50)
_LIST = "COCO2017_unlabeled/annotations/image_info_unlabeled2017.json"
_FILE_NAME = re.compile(rb'"file_name"\s*:\s*"(\d+)\.jpg"')


class _Entry(TypedDict):
    """One entry of the annotations; those of test name no answers and no aspects."""

    __pydantic_config__ = {"extra": "forbid"}  # type: ignore[misc]  # noqa: RUF012

    id: int
    reference_img_id: int
    relative_caption: str
    shared_concept: str
    target_img_id: NotRequired[int]
    gt_img_ids: NotRequired[list[int]]
    semantic_aspects: NotRequired[list[str]]


class CIRCO(Benchmark):
    """One domain that is only measured: val, and test, whose answers the server alone knows.

    Runs take ``--evaluation.split val``; test is ranked and kept, and ``clplat submit RUN`` writes its file.
    mAP@K counts all right answers, R_main@K the one that the query was made from; the reference stays in the
    gallery. Each of the nine semantic aspects of a query is a tag of it, such as ``negation=yes``. The
    primary metric is mAP@10.

    Args:
        root: the folder with ``annotations`` and ``COCO2017_unlabeled``.
        text: ``"caption"``: the change alone, as SEARLE; ``"concept"``: what reference and answers share as
            well, as "find {concept} but {caption}" of MagicLens. It is part of the protocol's name.
        images: the folder of pictures; by default ``COCO2017_unlabeled/unlabeled2017`` of the root.
        hidden: rank test as well.
        missing: pictures that are not there are refused, or left out and declared.

    Reference:
        Baldrati et al., "Zero-Shot Composed Image Retrieval with Textual Inversion", ICCV 2023,
        arXiv:2303.15247.

    Example:
        >>> from tempfile import mkdtemp
        >>> from clplat.testing.twins import circo
        >>> list(CIRCO(str(circo(Path(mkdtemp())))).build()[0][0].sets)
        ['val', 'test']
    """

    def __init__(
        self,
        root: str,
        text: Literal["caption", "concept"] = "caption",
        images: str | None = None,
        hidden: bool = True,
        missing: MissingPictures = "refuse",
    ) -> None:
        if text not in ("caption", "concept"):
            raise ValueError(f"text must be 'caption' or 'concept', not '{text}'")
        self.root, self.text, self.images, self.hidden, self.missing = root, text, images, hidden, missing

    @property
    def published(self) -> dict[str, int]:
        """Counts of the official files by name: queries and pictures."""
        test = {"test/queries": 800} if self.hidden else {}
        return {"val/queries": 220, **test, "pictures": 123_403}

    def refuse_missing(self) -> None:
        """Raise UserError where there is no such root; nothing is read."""
        PictureFiles(self.root, "circo")

    @cached_property
    def _read(self) -> Read:
        self.refuse_missing()
        with uncollected():
            return self._read_now()

    def _read_now(self) -> Read:
        root = Path(self.root).expanduser()
        files = PictureFiles(self.images or root / "COCO2017_unlabeled/unlabeled2017", "circo")
        numbers = _numbers(existing_file(root / _LIST, "circo"))
        shown = {number: files.picture(f"{number:012d}.jpg") for number in numbers}
        gallery = Gallery("circo/unlabeled2017", pictures=list(shown.values()))
        sets, counts = {}, {"pictures": len(gallery.items)}
        for split in ("val", *["test"] * self.hidden):
            path = root / "annotations" / f"{split}.json"
            entries = read_json(path, list[_Entry], "list of queries of CIRCO", "circo")
            queries = tuple(self._query(path, split, entry, shown) for entry in entries)
            labels: Literal["known", "hidden"] = "known" if split == "val" else "hidden"
            sets[split] = RetrievalSet(queries, gallery, _protocol(self.text), labels)
            counts[f"{split}/queries"] = len(queries)
        domain = Domain("circo", sets=sets)
        return finished(Read([domain], counts, self.published), [files], self.missing, "circo")

    def _query(self, path: Path, split: str, entry: _Entry, shown: dict[int, Picture]) -> Query:
        answers, number = entry.get("gt_img_ids", []), entry["id"]
        if ("target_img_id" in entry) == (split == "test") or bool(answers) == (split == "test"):
            raise UserError(
                f"{path}: query {number}: right answers belong to val, and to each of its entries"
            )
        for one in (entry["reference_img_id"], *answers):
            if one not in shown:
                raise UserError(f"{path}: query {number}: picture {one} is not in {Path(_LIST).name}")
        text = entry["relative_caption"]
        if self.text == "concept":
            text = f"find {entry['shared_concept']} but {text}"
        return Query(
            f"circo/{split}/{number}",
            shown[entry["reference_img_id"]],
            text,
            tuple(shown[answer].key for answer in answers),
            tags=dict.fromkeys(entry.get("semantic_aspects", []), "yes"),
            main=shown[entry["target_img_id"]].key if "target_img_id" in entry else None,
            extra={"id": number, "shared_concept": entry["shared_concept"]},
        )


def _protocol(text: str) -> Protocol:
    return Protocol(
        f"circo/{text}",
        exclude_reference=False,
        metrics=[f"{of}@{k}" for of in ("mAP", "R_main") for k in _KS],
        primary="mAP@10",
    )


def _numbers(path: Path) -> list[int]:
    """The numbers of all pictures of COCO's list, in its order.

    The list describes each picture at length, as objects 100 MB and a second; names are all that is needed.

    Raises:
        UserError: it names no picture, or one twice.
    """
    numbers = [int(found) for found in _FILE_NAME.findall(path.read_bytes())]
    if not numbers or len(set(numbers)) < len(numbers):
        raise UserError(f"{path} names {'a picture twice' if numbers else 'no pictures'}")
    return numbers
