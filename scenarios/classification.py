"""Labelled picture sets in sequence, one per domain or split by classes: MTIL, class-incremental learning."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, Literal

from clplat.data.counts import count_remarks
from clplat.data.folders import existing
from clplat.data.missing import Absent, MissingPictures, without_missing
from clplat.data.picture_files import PictureFiles
from clplat.data.records import Domain
from clplat.parts import Probe

from ._classes.sets import facts, read_set
from ._classes.stream import class_domains, parts_of
from ._stream import Stream

__all__ = ["Classification"]


class Classification(Stream):
    """A picture asks, and the prompts of the classes answer.

    Each class is a text of the gallery: the unit mean of all its prompts, as of CLIP's zero-shot classifiers;
    R@1 is accuracy. Pictures are asked of the classes of their own domain (tasks are known, as in MTIL) and
    of those of all domains (class-incremental); both are measured. MTIL's Transfer, Avg and Last are the
    measures ``transfer``, ``average`` and ``seen``.

    Args:
        root: the folder that the sets lie in.
        sets: in stream order. As torchvision leaves them below the root: aircraft, caltech101, cars, cifar10,
            cifar100, dtd, eurosat, flowers, food, mnist, pets, sun397. Any other name is a folder
            ``<name>/<split>/<class>/*`` or ``<name>/<class>/*`` (then split 60 / 15 / 25 by path).
        experiences: how many domains each set becomes, by classes.
        shuffle: seed of the order of classes; by default the source's order.
        among: the classes that ``test`` asks of, ``own`` or ``all``.
        templates: prompts with ``{}`` in place of the class; by default each set's own. Training reads the
            first.
        words: names of classes in place of folder names.
        validation: share of the training pictures held out as ``val`` where a set has no split for it.
        train: the most training pictures per domain, balanced over classes.
        queries: the most pictures per domain in val and in test, balanced over classes.
        missing: refuse the stream where pictures are missing, or leave them out and declare it.

    Raises:
        ValueError: no sets, one of them twice, a template without ``{}``, a number out of its range.

    Reference:
        Zheng et al., "Preventing Zero-Shot Transfer Degradation in Continual Learning of Vision-Language
        Models", ICCV 2023, arXiv:2303.06628 (MTIL).

    Example:
        >>> Classification("data", ["cifar100"], experiences=10, among="all").published
        {'cifar100/classes': 100, 'cifar100/train': 50000, 'cifar100/test': 10000}
    """

    def __init__(
        self,
        root: str,
        sets: list[str],
        experiences: int = 1,
        shuffle: int | None = None,
        among: Literal["own", "all"] = "own",
        templates: list[str] | None = None,
        words: dict[str, str] | None = None,
        validation: float = 0.1,
        train: int | None = None,
        queries: int | None = None,
        missing: MissingPictures = "refuse",
    ) -> None:
        if not sets or len(set(sets)) < len(sets):
            raise ValueError(f"sets must name at least one set, each once, not {sets}")
        for name, value in (("experiences", experiences), ("train", train), ("queries", queries)):
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}")
        if templates is not None and (not templates or any("{}" not in one for one in templates)):
            raise ValueError("templates must each hold {} in place of the class, and there must be one")
        if not 0 <= validation < 1:
            raise ValueError(f"validation must be at least 0 and below 1, not {validation}")
        if among not in ("own", "all") or missing not in ("refuse", "declare"):
            raise ValueError(f"among must be own or all, and missing refuse or declare: {among}, {missing}")
        self.root, self.sets, self.experiences, self.shuffle = root, sets, experiences, shuffle
        self.among, self.templates, self.words, self.validation = among, templates, words, validation
        self.train, self.queries, self.missing = train, queries, missing

    def refuse_missing(self) -> None:
        """Raise UserError where there is no such root; nothing is read."""
        existing(self.root)

    def build(self) -> tuple[list[Domain], list[Probe]]:
        """Return the domains in stream order and no probes; the same objects at every call."""
        return self._built[0], []

    @property
    def published(self) -> Mapping[str, int]:
        """What the sources say of their sets: classes, and pictures per split."""
        counts = {name: facts(name).get("published", {}) for name in self.sets}
        return {f"{name}/{what}": count for name, held in counts.items() for what, count in held.items()}

    @property
    def report(self) -> dict[str, Any]:
        """What was read and what was left out: plain values for a log."""
        return {"root": self.root, "counts": self._counts, "missing": self._built[1].report}

    @property
    def remarks(self) -> list[str]:
        """What a reader of the numbers should know of the data, a line each."""
        return count_remarks(self._counts, self.published) + self._built[1].remarks

    @cached_property
    def _files(self) -> PictureFiles:
        return PictureFiles(self.root, "classification")

    @cached_property
    def _read(self) -> list[Any]:
        return [
            read_set(self._files, name, self.templates, self.words, self.validation) for name in self.sets
        ]

    @property
    def _counts(self) -> dict[str, int]:
        """As `published`, of what is here; what validation took is counted where it came from."""
        found: dict[str, int] = {}
        for held in self._read:
            official = facts(held.name).get("published", {})
            counts = {split: len(shown) for split, shown in held.splits.items()}
            if "val" not in official and "val" in counts and official:
                counts["train"] += counts.pop("val")
            counts["classes"] = len(held.titles)
            found |= {f"{held.name}/{what}": count for what, count in counts.items()}
        return found

    @cached_property
    def _built(self) -> tuple[list[Domain], Absent]:
        parts = [part for held in self._read for part in parts_of(held, self.experiences, self.shuffle)]
        domains = class_domains(parts, self.among, self.train, self.queries)
        return without_missing(domains, self._files.absent, self.missing, "classification")
