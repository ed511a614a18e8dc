"""Captioned pictures by domain, by a column or by time: retrieval in both directions after each."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from clplat.data.counts import count_remarks
from clplat.data.folders import existing
from clplat.data.missing import Absent, MissingPictures, without_missing
from clplat.data.picture_files import PictureFiles
from clplat.data.records import Domain
from clplat.errors import UserError
from clplat.parts import Probe, RetrievalProbe

from ._captions.domains import Held, by_column, by_time, split_up
from ._captions.reading import read_captions
from ._captions.stream import captioned_domains, chosen
from ._stream import Stream

__all__ = ["Captioned"]

#: Pictures per split, as dataset_coco.json and dataset_flickr30k.json have them.
_KARPATHY = {
    **{"coco/train": 113287, "coco/val": 5000, "coco/test": 5000},
    **{"flickr30k/train": 29000, "flickr30k/val": 1014, "flickr30k/test": 1000},
}


class Captioned(Stream):
    """Words ask for pictures and pictures for words, among their own domain's and among all domains'.

    A picture is trained on with each of its captions, and every caption is a query. Sets: ``test`` is of the
    direction and gallery that are chosen; ``test/i2t``, ``test/t2i-union``, ``test/i2t-union`` are beside it.
    By time it is the stream of TiC: a row of R after each year holds the years before, the year and those to
    come (scores ``backward``, ``plasticity``, ``forward``); warm start is any strategy that goes on, and
    training on all data so far is strategy ``cumulative``.

    Args:
        root: the folder that the tables lie in.
        tables: name -> file below the root, in stream order: Karpathy's JSON, COCO's captions, JSON Lines,
            CSV, TSV or Parquet with columns for picture and caption and perhaps split, domain and time.
        pictures: name -> folder below the root that the table's pictures are relative to; by default that of
            the table.
        by: a domain is a ``table``, a value of the ``column`` domain, or a span of ``time``.
        periods: spans of years, such as ``[2004-2008, 2009-2010]``; by default every year.
        columns: role -> column, where a table calls them otherwise: picture, caption, split, domain, time.
        direction: of ``test``: ``t2i``, words ask, or ``i2t``.
        gallery: of ``test``: ``domain`` or ``union``.
        outside: name -> table whose test pictures are a zero-shot probe beside the stream.
        held_out: share of the pictures that is tested on, where a table does not say.
        validation: share of the training pictures for val, where a table does not say.
        train: the most training pictures per domain.
        queries: the most pictures per domain in val and in test.
        captions: the most captions of a picture that are trained on.
        missing: refuse the stream where pictures are missing, or leave them out and declare it.

    Raises:
        ValueError: no tables, a name in tables and outside, periods without time, a number out of its range.

    References:
        Liu et al., "C-CLIP: Multimodal Continual Learning for Vision-Language Model", ICLR 2025.
        Dobrzeniecka et al., "Beyond Classification: Dynamic Adapter Routing for Continual Multimodal
        Retrieval", arXiv:2605.31229.
        Garg et al., "TiC-CLIP: Continual Training of CLIP Models", ICLR 2024, arXiv:2310.16226.

    Example:
        >>> Captioned("data", {"flickr30k": "flickr30k/dataset_flickr30k.json"}).direction
        't2i'
    """

    def __init__(
        self,
        root: str,
        tables: dict[str, str],
        pictures: dict[str, str] | None = None,
        by: Literal["table", "column", "time"] = "table",
        periods: list[str] | None = None,
        columns: dict[str, str] | None = None,
        direction: Literal["t2i", "i2t"] = "t2i",
        gallery: Literal["domain", "union"] = "domain",
        outside: dict[str, str] | None = None,
        held_out: float = 0.2,
        validation: float = 0.1,
        train: int | None = None,
        queries: int | None = None,
        captions: int | None = None,
        missing: MissingPictures = "refuse",
    ) -> None:
        if not tables:
            raise ValueError("tables must name at least one file")
        for name, value in (("train", train), ("queries", queries), ("captions", captions)):
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}")
        for name, share in (("held_out", held_out), ("validation", validation)):
            if not 0 < share < 1:
                raise ValueError(f"{name} must be above 0 and below 1, not {share}")
        if twice := sorted({*tables} & {*(outside or ())}):
            raise ValueError(f"'{twice[0]}' is in tables and in outside: give it another name in one of them")
        if periods is not None and by != "time":
            raise ValueError("periods need by time")
        self._refuse_other(by, direction, gallery, missing)
        self.root, self.tables, self.pictures, self.by, self.periods = root, tables, pictures, by, periods
        self.columns, self.direction, self.gallery, self.outside = columns, direction, gallery, outside
        self.held_out, self.validation, self.missing = held_out, validation, missing
        self.train, self.queries, self.captions = train, queries, captions

    @staticmethod
    def _refuse_other(*chosen: str) -> None:
        allowed = (("table", "column", "time"), ("t2i", "i2t"), ("domain", "union"), ("refuse", "declare"))
        for value, known in zip(chosen, allowed, strict=True):
            if value not in known:
                raise ValueError(f"'{value}' is none of {', '.join(known)}")

    def refuse_missing(self) -> None:
        """Raise UserError where there is no such root; nothing is read."""
        existing(self.root)

    def build(self) -> tuple[list[Domain], list[Probe]]:
        """Return the domains in stream order and the probes; the same objects at every call."""
        return self._built[0], self._probes

    @property
    def published(self) -> Mapping[str, int]:
        """Pictures per split of Karpathy's tables, where they are called ``coco`` and ``flickr30k``."""
        named = _KARPATHY if self.by == "table" else {}
        return {what: count for what, count in named.items() if what.partition("/")[0] in self.tables}

    @property
    def report(self) -> dict[str, Any]:
        """What was read and what was left out: plain values for a log."""
        return {"root": self.root, "counts": self._counts, "missing": self._built[1].report}

    @property
    def remarks(self) -> list[str]:
        """What a reader of the numbers should know of the data, a line each."""
        lost = [
            f"{len(self._files[name].absent)} pictures of outside '{name}' are missing"
            for name in self.outside or ()
            if self._probes and self._files[name].absent
        ]
        return count_remarks(self._counts, self.published) + self._built[1].remarks + lost

    @cached_property
    def _files(self) -> dict[str, PictureFiles]:
        tables = {**(self.outside or {}), **self.tables}
        folders = {name: str(Path(table).parent) for name, table in tables.items()} | (self.pictures or {})
        return {
            name: PictureFiles(Path(self.root).expanduser() / folders[name], f"captioned/{name}")
            for name in tables
        }

    def _read(self, name: str, table: str) -> list[Held]:
        rows = read_captions(Path(self.root).expanduser() / table, self.columns)
        return [Held(self._files[name].picture(said.picture), said) for said in rows]

    @cached_property
    def _dealt(self) -> dict[str, list[Held]]:
        tables = {name: self._read(name, table) for name, table in self.tables.items()}
        dealt = tables
        if self.by != "table":
            dealt = by_column(tables) if self.by == "column" else by_time(tables, self.periods)
        return {name: split_up(rows, self.held_out, self.validation) for name, rows in dealt.items()}

    @property
    def _counts(self) -> dict[str, int]:
        return {
            f"{name}/{split}": sum(row.split == split for row in rows)
            for name, rows in self._dealt.items()
            for split in ("train", "val", "test")
        }

    @cached_property
    def _built(self) -> tuple[list[Domain], Absent]:
        first = (self.direction, self.gallery if len(self._dealt) > 1 else "domain")
        domains = captioned_domains(self._dealt, first, self.train, self.queries, self.captions)
        absent = [key for files in self._files.values() for key in files.absent]
        return without_missing(domains, absent, self.missing, "captioned")

    def _there(self, name: str, rows: list[Held]) -> list[Held]:
        """Without those whose picture is missing; UserError where that is refused."""
        absent = set(self._files[name].absent)
        gone = [row.picture.key for row in rows if row.picture.key in absent]
        if gone and self.missing == "refuse":
            raise UserError(
                f"scenario captioned: {len(gone)} pictures of outside '{name}' are missing: "
                f"{', '.join(gone[:3])}; put them there, or leave them out: --scenario.missing declare"
            )
        return [row for row in rows if row.picture.key not in absent]

    @cached_property
    def _probes(self) -> list[Probe]:
        probes: list[Probe] = []
        for name, table in (self.outside or {}).items():
            rows = split_up(self._read(name, table), self.held_out, self.validation)
            shown = self._there(name, chosen([row for row in rows if row.split == "test"], self.queries))
            texts = tuple(text for row in shown for text in row.said.texts)
            owners = tuple(i for i, row in enumerate(shown) for _ in row.said.texts)
            probes.append(RetrievalProbe(name, tuple(row.picture for row in shown), texts, owners))
        return probes
