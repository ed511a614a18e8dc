"""MetaShift: things in one context after another; the same thing, elsewhere."""

from __future__ import annotations

import io
import pickle
import random
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from clplat.data.counts import count_remarks
from clplat.data.folders import existing, split_of, stable_hash, with_article
from clplat.data.items import Picture
from clplat.data.missing import Absent, MissingPictures, without_missing
from clplat.data.picture_files import PictureFiles
from clplat.data.records import Domain, Example, Gallery, Protocol, Query, RetrievalSet, Triplet
from clplat.data.validate import validate_domain
from clplat.errors import UserError, unknown_name
from clplat.parts import Probe

from ._stream import Stream

__all__ = ["Metashift"]

_PROTOCOL = Protocol("metashift/all-contexts", exclude_reference=True, ks=(1, 5, 10), primary="mAP@10")
_CHANGES = ("the same with {}", "show one with {} instead", "with {} in the picture")


class Metashift(Stream):
    """A domain is a context: a cat on a sofa and "the same with a laptop" ask for cats with laptops.

    Every picture of the wanted thing and context is a right answer; the gallery holds the pictures of all
    things and contexts. Pictures are split 60 / 15 / 25 by a hash of their names; one that shows two of the
    things is left out, as in the code.

    Args:
        root: the folder of the file of subsets and of the pictures.
        subjects: things, such as ``[cat, dog]``.
        contexts: in stream order, such as ``[sofa, laptop, bench]``.
        subsets: the file ``{"cat(sofa)": {names of pictures}}`` below the root.
        pictures: folder of the pictures of GQA below the root.
        least: pictures that a subset must have, 25 in the paper.
        train: triplets per domain.
        queries: the most queries per domain and split.
        missing: refuse the stream where pictures are missing, or leave them out and declare it.
        seed: of the training triplets and of the queries' references.

    Raises:
        ValueError: no thing, fewer than two contexts, one of them twice, a number below 1.

    Reference:
        Liang and Zou, "MetaShift: A Dataset of Datasets for Evaluating Contextual Distribution Shifts and
        Training Conflicts", ICLR 2022, arXiv:2202.06523.

    Example:
        >>> Metashift("data", ["cat", "dog"], ["sofa", "laptop"]).published["subsets"]
        17938
    """

    #: Of full-candidate-subsets.pkl, by the public code; the paper keeps 12,868 of them, of 410 classes.
    published: ClassVar[Mapping[str, int]] = {"subsets": 17938, "subsets/above-25": 13543}

    def __init__(
        self,
        root: str,
        subjects: list[str],
        contexts: list[str],
        subsets: str = "full-candidate-subsets.pkl",
        pictures: str = "images",
        least: int = 25,
        train: int = 600,
        queries: int = 120,
        missing: MissingPictures = "refuse",
        seed: int = 0,
    ) -> None:
        if not subjects or len(contexts) < 2:
            raise ValueError(f"needs a thing and two contexts, not {subjects} and {contexts}")
        if len(set(subjects)) < len(subjects) or len(set(contexts)) < len(contexts):
            raise ValueError("subjects and contexts must each be named once")
        for name, value in (("least", least), ("train", train), ("queries", queries)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}")
        if missing not in ("refuse", "declare"):
            raise ValueError(f"missing must be refuse or declare, not {missing}")
        self.root, self.subjects, self.contexts, self.subsets = root, subjects, contexts, subsets
        self.pictures, self.least, self.train, self.queries = pictures, least, train, queries
        self.missing, self.seed = missing, seed

    def refuse_missing(self) -> None:
        """Raise UserError where there is no such root; nothing is read."""
        existing(self.root)

    def build(self) -> tuple[list[Domain], list[Probe]]:
        """Return the domains in stream order and no probes; the same objects at every call."""
        return self._built[0], []

    @property
    def report(self) -> dict[str, Any]:
        """What was read and what was left out: plain values for a log."""
        shown = {f"{s}({c})": len(names) for (s, c), names in self._cells.items()}
        return {
            "root": self.root,
            "pictures": shown,
            "counts": self._counts,
            "missing": self._built[1].report,
        }

    @property
    def remarks(self) -> list[str]:
        """What a reader of the numbers should know of the data, a line each."""
        return count_remarks(self._counts, self.published) + self._built[1].remarks

    @property
    def _counts(self) -> dict[str, int]:
        large = sum(len(names) > 25 for names in self._held.values())
        return {"subsets": len(self._held), "subsets/above-25": large}

    @cached_property
    def _held(self) -> Mapping[str, Any]:
        return _subsets(Path(self.root).expanduser() / self.subsets)

    @cached_property
    def _files(self) -> PictureFiles:
        return PictureFiles(Path(self.root).expanduser() / self.pictures, "metashift")

    @cached_property
    def _cells(self) -> dict[tuple[str, str], list[str]]:
        """(thing, context) -> names of pictures, sorted; of pictures that show one of the things alone."""
        held = self._held
        shown = {
            s: {n for key, names in held.items() if _parted(key)[0] == s for n in names}
            for s in self.subjects
        }
        for subject, names in shown.items():
            if not names:
                raise unknown_name("thing", subject, {_parted(key)[0] for key in held})
        cells: dict[tuple[str, str], list[str]] = {}
        for subject in self.subjects:
            others = {n for other, names in shown.items() if other != subject for n in names}
            for context in self.contexts:
                own = sorted(set(held.get(f"{subject}({context})", ())) - others)
                if len(own) >= self.least:
                    cells[subject, context] = own
        return cells

    @cached_property
    def _built(self) -> tuple[list[Domain], Absent]:
        galleries = {split: self._gallery(split) for split in ("val", "test")}
        domains = []
        for place, context in enumerate(self.contexts):
            if not any(cell[1] == context for cell in self._cells):
                raise UserError(f"no thing has {self.least} pictures with context '{context}'; lower least")
            sets = {
                split: RetrievalSet(self._queries(context, split), gallery, _PROTOCOL)
                for split, gallery in galleries.items()
            }
            # References are of earlier contexts; the first domain, which has none, takes the second's.
            sources = self.contexts[:place] or self.contexts[1:2]
            domains.append(Domain(context, self._triplets(context, sources), sets=sets))
            validate_domain(domains[-1])
        return without_missing(domains, self._files.absent, self.missing, "metashift")

    def _shown(self, subject: str, context: str, split: str) -> list[Picture]:
        names = self._cells.get((subject, context), [])
        return [self._files.picture(name) for name in names if split_of(name) == split]

    def _gallery(self, split: str) -> Gallery:
        pictures = [p for subject, context in self._cells for p in self._shown(subject, context, split)]
        distinct = sorted({p.key: p for p in pictures}.values(), key=lambda p: p.key)
        return Gallery(f"metashift/{split}@{stable_hash(*(p.key for p in distinct)):016x}", pictures=distinct)

    def _sources(self, subject: str, wanted: str, contexts: Sequence[str], split: str) -> list[Picture]:
        """Pictures of the thing in other contexts and not in the wanted one."""
        there = {p.key for p in self._shown(subject, wanted, split)}
        found = [
            p for c in contexts if c != wanted for p in self._shown(subject, c, split) if p.key not in there
        ]
        return list({p.key: p for p in found}.values())

    def _queries(self, context: str, split: str) -> tuple[Query, ...]:
        asked = []
        for subject in self.subjects:
            answers = tuple(p.key for p in self._shown(subject, context, split))
            for picture in self._sources(subject, context, self.contexts, split) if answers else ():
                text = _CHANGES[stable_hash("words", picture.key, context) % 3].format(with_article(context))
                query = Query(f"{context}/{picture.key}", picture, text, answers, {"thing": subject})
                asked.append((stable_hash("asked", query.id), query))
        return tuple(query for _, query in sorted(asked, key=lambda one: one[0])[: self.queries])

    def _triplets(self, context: str, sources: Sequence[str]) -> tuple[Example, ...]:
        draw = random.Random(stable_hash("train", self.seed, context))
        cells = {
            subject: (
                self._sources(subject, context, sources, "train"),
                self._shown(subject, context, "train"),
            )
            for subject in self.subjects
        }
        whole = [subject for subject, (references, targets) in cells.items() if references and targets]
        if not whole:
            raise UserError(f"no thing has training pictures both with '{context}' and with {sources[0]}")
        found: dict[tuple[str, str], Example] = {}
        for _ in range(20 * self.train):  # there may be fewer distinct ones
            subject = draw.choice(whole)
            reference, target = (draw.choice(pictures) for pictures in cells[subject])
            text = draw.choice(_CHANGES).format(with_article(context))
            name = f"{context}/{len(found):05d}"
            triplet = Triplet(name, reference, text, target, f"{subject}({context})", context)
            found.setdefault((reference.key, target.key), triplet)
            if len(found) == self.train:
                break
        return tuple(found.values())


class _Names(pickle.Unpickler):
    """Reads sets of names and refuses all else: a pickle may run any code."""

    def find_class(self, module: str, name: str) -> Any:
        if module in ("builtins", "__builtin__") and name in ("set", "frozenset"):
            return {"set": set, "frozenset": frozenset}[name]
        raise pickle.UnpicklingError(f"it wants to run {module}.{name}")


def _subsets(path: Path) -> Mapping[str, Any]:
    try:
        found = _Names(io.BytesIO(path.read_bytes())).load()
    except FileNotFoundError:
        raise UserError(f"no such file: {path}") from None
    except (pickle.UnpicklingError, EOFError, ValueError) as error:
        raise UserError(f"{path} is no file of MetaShift: {error}") from error
    if not isinstance(found, dict) or not all(_parted(key)[1] for key in list(found)[:100]):
        raise UserError(f"{path} is no file of MetaShift: its keys should be like cat(sofa)")
    return found


def _parted(key: str) -> tuple[str, str]:
    found = re.fullmatch(r"([^(]+)\((.+)\)", str(key))
    return (found[1], found[2]) if found else (str(key), "")
