"""Captioned pictures from files as zero-shot retrieval: COCO, Flickr30k, NegBench's, XTD's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from clplat.data.picture_files import PictureFiles
from clplat.errors import UserError
from clplat.parts import Probe, Probes, RetrievalProbe

from .._captions.reading import read_captions

__all__ = ["Retrieval"]


class Retrieval(Probes):
    """R@K of both directions and their mean, a probe per file; any caption of a picture answers it.

    NegBench's retrieval with negation is its two tables side by side: ``COCO_val_retrieval.csv`` and
    ``COCO_val_negated_retrieval_llama3.1_rephrased_affneg_true.csv``, of the same pictures.

    Args:
        files: name -> Karpathy's JSON, COCO's captions, or a table with columns for picture and captions.
        pictures: the folder that names of pictures are relative to.
        columns: role -> column, where a table calls them otherwise.
        split: which pictures, where a file says it.
        bare: names of pictures are without their folders, as copies of COCO lie elsewhere than tables say.

    Raises:
        ValueError: no files.

    Reference:
        Alhamoud et al., "Vision-Language Models Do Not Understand Negation", CVPR 2025, arXiv:2501.09425.
    """

    #: NegBench's tables of COCO; all of its tasks.
    published: ClassVar[Mapping[str, int]] = {"negbench/pictures": 5000, "negbench": 79239}

    def __init__(
        self,
        files: dict[str, str],
        pictures: str,
        columns: dict[str, str] | None = None,
        split: str = "test",
        bare: bool = False,
    ) -> None:
        if not files:
            raise ValueError("files must name at least one file")
        self.files, self.pictures, self.columns = files, pictures, columns
        self.split, self.bare = split, bare

    def build(self) -> list[Probe]:
        """A probe per file.

        Raises:
            UserError: a file or the folder is missing or not as described, a file has no picture of the
                split, or a picture is not there.
        """
        found = PictureFiles(self.pictures, "retrieval")
        probes: list[Probe] = []
        for name, file in self.files.items():
            rows = read_captions(Path(file).expanduser(), self.columns)
            rows = [row for row in rows if row.split in ("", self.split)]
            if not rows:
                raise UserError(f"{file} has no picture in split '{self.split}'")
            named = [row.picture.rpartition("/")[2] if self.bare else row.picture for row in rows]
            texts = tuple(text for row in rows for text in row.texts)
            owners = tuple(i for i, row in enumerate(rows) for _ in row.texts)
            probes.append(RetrievalProbe(f"retrieval/{name}", found.pictures(named), texts, owners))
        if found.absent:
            gone = ", ".join(found.absent[:3])
            raise UserError(
                f"probe retrieval: {len(found.absent)} pictures are not in {self.pictures}: {gone}"
            )
        return probes
