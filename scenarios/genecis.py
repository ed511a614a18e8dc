"""GeneCIS: the same attribute or object, or another one, among a few candidates of each query's own."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from typing_extensions import NotRequired, TypedDict

from clplat.data.missing import MissingPictures
from clplat.data.picture_files import PictureFiles
from clplat.data.records import Domain, Gallery, Picture, Protocol, Query, RetrievalSet
from clplat.errors import UserError

from ._cir import Benchmark, Read, finished, read_json
from ._genecis import Crops

__all__ = ["GeneCIS"]

_TASKS = ("focus_attribute", "change_attribute", "focus_object", "change_object")
_PROTOCOL = Protocol(
    "genecis/own-candidates",
    exclude_reference=False,
    metrics=("R_sub@1", "R_sub@2", "R_sub@3"),
    primary="R_sub@1",
    tie_rule="against",
)


class _Shown(TypedDict):
    """A picture of COCO, or a box of one of Visual Genome."""

    val_image_id: NotRequired[int]
    image_id: NotRequired[int]
    instance_bbox: NotRequired[list[float]]


class _Template(TypedDict):
    condition: str
    reference: _Shown
    target: _Shown
    gallery: list[_Shown]


class GeneCIS(Benchmark):
    """Four tasks as domains, without training data: each query is ranked among 10 to 15 own candidates.

    The mean over tasks of R_sub@1 is the single number that papers give. The candidates of all templates of a
    task are one gallery, so that every picture is embedded once; it is sorted by name, and ties with the
    target count against it: neither tells the answer, as a target in the first place would.

    Args:
        root: the folder with ``genecis`` (a JSON file for each task), ``val2017`` of COCO and ``VG_100K_all``
            of Visual Genome.
        order: the tasks in stream order; by default all.
        coco: the folder of COCO's pictures, by default that of the root.
        visual_genome: the folder of Visual Genome's pictures, by default that of the root.
        missing: pictures that are not there are refused, or left out and declared.

    Reference:
        Vaze et al., "GeneCIS: A Benchmark for General Conditional Image Similarity", CVPR 2023,
        arXiv:2306.07969.

    Example:
        >>> from tempfile import mkdtemp
        >>> from clplat.testing.twins import genecis
        >>> [domain.name for domain in GeneCIS(str(genecis(Path(mkdtemp())))).build()[0]]
        ['focus_attribute', 'change_attribute', 'focus_object', 'change_object']
    """

    def __init__(
        self,
        root: str,
        order: list[str] | None = None,
        coco: str | None = None,
        visual_genome: str | None = None,
        missing: MissingPictures = "refuse",
    ) -> None:
        self.order = list(_TASKS if order is None else order)
        strange = [name for name in self.order if name not in _TASKS]
        if strange or not self.order or len(set(self.order)) < len(self.order):
            raise ValueError(f"order must be some of {', '.join(_TASKS)}, each once, not {order}")
        self.root, self.coco, self.visual_genome, self.missing = root, coco, visual_genome, missing

    @property
    def published(self) -> dict[str, int]:
        """Counts of the official files by name, as far as they are known: queries of the tasks on objects."""
        return {f"{task}/queries": 1960 for task in self.order if task.endswith("object")}

    def refuse_missing(self) -> None:
        """Raise UserError where there is no such root; nothing is read."""
        PictureFiles(self.root, "genecis")

    @cached_property
    def _read(self) -> Read:
        self.refuse_missing()
        root = Path(self.root).expanduser()
        objects = any(task.endswith("object") for task in self.order)
        coco = PictureFiles(self.coco or root / "val2017", "coco-val2017") if objects else None
        boxes = any(task.endswith("attribute") for task in self.order)
        crops = (
            Crops(PictureFiles(self.visual_genome or root / "VG_100K_all", "visual-genome"))
            if boxes
            else None
        )
        sources = _Sources(coco, crops)
        domains = [_domain(root / "genecis" / f"{task}.json", task, sources) for task in self.order]
        counts = {f"{domain.name}/queries": len(domain.test.queries) for domain in domains}
        found: list[PictureFiles | Crops] = [one for one in (coco, crops) if one is not None]
        return finished(Read(domains, counts, self.published), found, self.missing, "genecis")


class _Sources:
    """Where the pictures of templates come from."""

    def __init__(self, coco: PictureFiles | None, crops: Crops | None) -> None:
        self.coco, self.crops = coco, crops

    def picture(self, shown: _Shown) -> Picture:
        """ValueError where it names other than what its task has."""
        if self.coco is not None and "val_image_id" in shown:
            return self.coco.picture(f"{shown['val_image_id']:012d}.jpg")
        box = shown.get("instance_bbox", [])
        if self.crops is not None and "image_id" in shown and len(box) == 4 and min(box[2:]) > 0:
            return self.crops.picture(f"{shown['image_id']}.jpg", (box[0], box[1], box[2], box[3]))
        raise ValueError("val_image_id, or image_id with instance_bbox of four numbers")


def _domain(path: Path, task: str, sources: _Sources) -> Domain:
    templates: list[_Template] = read_json(path, list[_Template], "list of templates of GeneCIS", "genecis")
    queries, shown = [], dict[str, Picture]()
    for i, template in enumerate(templates):
        try:
            reference, target, *others = map(
                sources.picture, (template["reference"], template["target"], *template["gallery"])
            )
        except ValueError as error:
            raise UserError(f"{path}, entry {i}: each picture needs {error}") from None
        own = {picture.key: picture for picture in (target, *others)}
        shown |= own
        name, candidates = f"{task}/{i:05d}", tuple(sorted(own))
        queries.append(Query(name, reference, template["condition"], (target.key,), candidates=candidates))
    gallery = Gallery(f"genecis/{task}", pictures=[shown[key] for key in sorted(shown)])
    return Domain(task, test=RetrievalSet(tuple(queries), gallery, _PROTOCOL))
