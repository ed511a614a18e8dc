"""Babel-ImageNet: the classes of ImageNet in one language after another."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from clplat.data.counts import count_remarks
from clplat.data.folders import existing
from clplat.data.missing import Absent, MissingPictures, without_missing
from clplat.data.picture_files import PictureFiles
from clplat.data.records import Domain
from clplat.errors import UserError, unknown_name
from clplat.parts import Probe

from ._classes.sets import LabelledSet, read_set
from ._classes.stream import Part, class_domains
from ._stream import Stream

__all__ = ["BabelImagenet"]


class BabelImagenet(Stream):
    """A domain is a language: pictures of ImageNet ask, and the classes answer in that language.

    Each language has the classes that its file translates. ``test`` asks of the language's own prompts,
    ``test/all`` of those of all languages.

    Args:
        root: the folder of the labels, of the prompts and of the pictures.
        languages: codes as in the file, in stream order, such as ``[DE, SW, ZH]``.
        labels: file of ``{language: [[places of classes], [labels]]}``, below the root.
        prompts: file of ``{language: [prompts with {}]}``, below the root; by default the label alone.
        pictures: folder of ImageNet below the root, with ``train/<class>/*`` and ``val/<class>/*``; classes
            are counted in the order of their names.
        validation: share of the training pictures that is held out as val.
        train: the most training pictures per domain.
        queries: the most pictures per domain and split.
        missing: refuse the stream where pictures are missing, or leave them out and declare it.

    Raises:
        ValueError: no language, one of them twice, a number out of its range.

    Reference:
        Geigle et al., "Babel-ImageNet: Massively Multilingual Evaluation of Vision-and-Language
        Representations", ACL 2024, arXiv:2306.08658.

    Example:
        >>> BabelImagenet("data", ["DE", "SW"]).published["classes"]
        1000
    """

    published: ClassVar[Mapping[str, int]] = {"classes": 1000, "languages": 298, "test": 50000}

    def __init__(
        self,
        root: str,
        languages: list[str],
        labels: str = "babel_imagenet-298.json",
        prompts: str | None = None,
        pictures: str = "imagenet",
        validation: float = 0.1,
        train: int | None = None,
        queries: int | None = None,
        missing: MissingPictures = "refuse",
    ) -> None:
        if not languages or len(set(languages)) < len(languages):
            raise ValueError(f"languages must name at least one, each once, not {languages}")
        for name, value in (("train", train), ("queries", queries)):
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}")
        if not 0 < validation < 1:
            raise ValueError(f"validation must be above 0 and below 1, not {validation}")
        if missing not in ("refuse", "declare"):
            raise ValueError(f"missing must be refuse or declare, not {missing}")
        self.root, self.languages, self.labels, self.prompts = root, languages, labels, prompts
        self.pictures, self.validation, self.missing = pictures, validation, missing
        self.train, self.queries = train, queries

    def refuse_missing(self) -> None:
        """Raise UserError where there is no such root; nothing is read."""
        existing(self.root)

    def build(self) -> tuple[list[Domain], list[Probe]]:
        """Return the domains in stream order and no probes; the same objects at every call."""
        return self._built[0], []

    @property
    def report(self) -> dict[str, Any]:
        """What was read and what was left out: plain values for a log."""
        classes = {domain.name: len(domain.test.gallery.items) for domain in self._built[0]}
        return {
            "root": self.root,
            "classes": classes,
            "counts": self._counts,
            "missing": self._built[1].report,
        }

    @property
    def remarks(self) -> list[str]:
        """What a reader of the numbers should know of the data, a line each."""
        return count_remarks(self._counts, self.published) + self._built[1].remarks

    @property
    def _counts(self) -> dict[str, int]:
        languages, held = len(self._labels), self._images
        return {"classes": len(held.titles), "languages": languages, "test": len(held.splits["test"])}

    @cached_property
    def _files(self) -> PictureFiles:
        return PictureFiles(self.root, "babel-imagenet")

    @cached_property
    def _images(self) -> LabelledSet:
        return read_set(self._files, self.pictures, validation=self.validation)

    @cached_property
    def _labels(self) -> Mapping[str, Any]:
        return _by_language(self._files.root / self.labels)

    @cached_property
    def _built(self) -> tuple[list[Domain], Absent]:
        prompts = _by_language(self._files.root / self.prompts) if self.prompts else None
        parts = [self._part(language, self._labels, prompts) for language in self.languages]
        domains = class_domains(parts, "own", self.train, self.queries)
        return without_missing(domains, self._files.absent, self.missing, "babel_imagenet")

    def _part(self, language: str, labels: Mapping[str, Any], prompts: Mapping[str, Any] | None) -> Part:
        for held in (labels, *([prompts] if prompts is not None else [])):
            if language not in held:
                raise unknown_name("language", language, held)
        places, said = labels[language]
        if len(places) != len(said):
            raise UserError(f"{self.labels}: {language} has {len(places)} places and {len(said)} labels")
        classes = len(self._images.titles)
        titles = [""] * classes
        own = [(place, label) for place, label in zip(places, said, strict=True) if place < classes]
        for place, label in own:
            titles[place] = label
        keys = [str(place) for place in range(classes)]
        templates = prompts[language] if prompts is not None else ["{}"]
        held_set = LabelledSet(f"imagenet/{language}", titles, templates, self._images.splits, keys)
        return Part(language, held_set, tuple(place for place, _ in own))


def _by_language(path: Path) -> Mapping[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"no such file: {path}") from None
    except ValueError as error:
        raise UserError(f"{path} is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise UserError(f"{path} should hold an entry per language")
    return found
