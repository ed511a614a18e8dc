"""A stream from any tree of pictures ``<root>/<domain>/<class>/*.jpg``, such as PACS."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, Literal

from clplat.data.fingerprint import stream_fingerprint
from clplat.data.folders import (
    SPLITS,
    FolderTree,
    existing,
    read_folders,
    stable_hash,
    to_words,
    with_article,
)
from clplat.data.records import (
    Candidate,
    Domain,
    Example,
    Gallery,
    Picture,
    Protocol,
    RetrievalSet,
    Triplet,
)
from clplat.data.validate import validate_domain
from clplat.errors import UserError, unknown_name
from clplat.parts import ClassificationProbe, Probe

from ._folder_queries import CLASS_CHANGE, DOMAIN_CHANGE, balanced, draw_queries
from ._stream import Stream

__all__ = ["DomainFolders"]

_CAPTIONS = ("{style} of {thing}", "{style} showing {thing}", "{thing} in {style}", "{thing}, {style}")
_PROTOCOL = Protocol("domain-folders/all-domains", exclude_reference=True, ks=(1, 5, 10), primary="mAP@10")


class DomainFolders(Stream):
    """Each domain asks for its own pictures, by two kinds of change, among the pictures of all domains.

    *Class change*: a picture of the domain and "a horse instead" -> any horse of the domain. *Domain change*:
    a horse of another domain and "the same thing as a sketch" -> any horse of the domain. The gallery holds
    every domain's pictures, so that both what is kept and what is changed must be understood.

    Training references come from the domain itself and from earlier ones, never from the future. Queries and
    galleries depend on which domains there are, not on their ``order``, ``train`` or ``seed``. Pictures are
    split 60 / 15 / 25 by a hash of their paths.

    Args:
        root: the folder of domain folders.
        order: the domains in stream order; by default all, by name.
        train: training triplets per domain; fewer where the pictures do not give that many distinct ones.
        queries: queries per domain in val and in test, half of them of each kind.
        gallery: the most gallery pictures, balanced over domains and classes; by default all.
        classes: the classes to use; by default all.
        words: nouns for folder names that do not read well, e.g. ``{"real": "real photo"}``.
        holdout: a domain left out of the stream; its test pictures become a zero-shot probe.
        bad_pictures: refuse the tree if files cannot be read, or drop them and list them in `report`.
        copies: of training pictures among those of val and test, by content: say so, or refuse the tree.
        negatives: each training triplet brings its reference along as a candidate, or nothing. Targets of a
            batch are all of one domain: only the references teach what tells the domains apart.
        seed: of the training triplets.

    Example:
        >>> DomainFolders("data/pacs", order=["photo", "sketch"], bad_pictures="drop").order
        ['photo', 'sketch']
    """

    def __init__(
        self,
        root: str,
        order: list[str] | None = None,
        train: int = 600,
        queries: int = 120,
        gallery: int | None = None,
        classes: list[str] | None = None,
        words: dict[str, str] | None = None,
        holdout: str | None = None,
        bad_pictures: Literal["refuse", "drop"] = "refuse",
        copies: Literal["report", "refuse"] = "report",
        negatives: Literal["reference", "none"] = "reference",
        seed: int | None = None,
    ) -> None:
        for name, value in (("train", train), ("queries", queries), ("gallery", gallery)):
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}")
        if order is not None and (not order or len(set(order)) < len(order)):
            raise ValueError(f"order must name each domain once, not {order}")
        if holdout is not None and holdout in (order or ()):
            raise ValueError(f"holdout '{holdout}' cannot be in order as well")
        self.root, self.order, self.classes, self.words = root, order, classes, words
        self.train, self.queries, self.gallery, self.holdout = train, queries, gallery, holdout
        self.bad_pictures, self.copies, self.negatives, self.seed = bad_pictures, copies, negatives, seed

    def refuse_missing(self) -> None:
        """Raise UserError where there is no such root; nothing is read."""
        existing(self.root)

    def build(self) -> tuple[list[Domain], list[Probe]]:
        """Return the domains in stream order and the probes; the same objects at every call."""
        return self._built

    def captioned(self, split: str = "train", domains: Sequence[str] | None = None) -> list[Picture]:
        """Return the pictures of a split with captions such as "a sketch of a horse", to pretrain a CLIP on.

        Args:
            split: ``"train"``, ``"val"`` or ``"test"``.
            domains: the domains to read; by default those of the stream.
        """
        if split not in SPLITS:
            raise unknown_name("split", split, SPLITS)
        wanted = self._stream if domains is None else list(domains)
        tree = self._tree if domains is None else self._read(wanted)
        return [
            replace(picture, caption=self._caption(picture, domain, category))
            for domain in wanted
            for category in tree.classes
            for picture in tree.pictures(domain, category, split)
        ]

    @property
    def report(self) -> dict[str, Any]:
        """What was read, dropped and made: plain values for a log."""
        made = {
            d.name: dict(zip(SPLITS, (len(d.train), len(d.val.queries), len(d.test.queries)), strict=True))
            for d in self.build()[0]
        }
        return {**self._tree.report, "bad_pictures": self.bad_pictures, "made": made}

    def fingerprint(self) -> str:
        """The sha256 of all keys, texts, labels and splits, in stream order."""
        return stream_fingerprint(*self.build())

    @cached_property
    def _tree(self) -> FolderTree:
        held = [self.holdout] if self.holdout is not None else []
        return self._read(None if self.order is None else [*self.order, *held])

    def _read(self, domains: Sequence[str] | None) -> FolderTree:
        return read_folders(self.root, domains, self.classes, self.bad_pictures, self.copies)

    @property
    def remarks(self) -> list[str]:
        """What a reader of the numbers should know of the data, a line each."""
        return self._tree.remarks

    @cached_property
    def _stream(self) -> list[str]:
        known = self._tree.domains
        for name in (self.holdout,) if self.holdout is not None else ():
            if name not in known:
                raise unknown_name("domain", name, known)
        stream = list(self.order or (name for name in known if name != self.holdout))
        if not stream:
            raise UserError(f"scenario domain_folders: no domain is left beside holdout '{self.holdout}'")
        for name in self.words or ():
            if name not in (*known, *self._tree.classes):
                raise unknown_name("domain or class in words", name, (*known, *self._tree.classes))
        return stream

    @cached_property
    def _built(self) -> tuple[list[Domain], list[Probe]]:
        val, test = self._retrieval_sets("val"), self._retrieval_sets("test")
        domains = []
        for place, name in enumerate(self._stream):
            domains.append(Domain(name, self._triplets(name, self._stream[:place]), val[name], test[name]))
            validate_domain(domains[-1])
        return domains, self._probes()

    def _triplets(self, domain: str, earlier: Sequence[str]) -> tuple[Example, ...]:
        """Draw distinct training triplets; domain changes start from ``earlier`` domains only."""
        pictures = self._tree.pictures
        own = [category for category in self._tree.classes if pictures(domain, category, "train")]
        if not own or (len(own) < 2 and not earlier):
            raise UserError(f"domain '{domain}' has training pictures of {len(own)} classes; it needs two")
        draw = random.Random(stable_hash("train", self.seed or 0, domain, *sorted(earlier)))
        found: dict[tuple[str, str, str], Example] = {}
        for _ in range(20 * self.train):  # a small tree may have fewer distinct triplets
            wanted = draw.choice(own)
            others = [category for category in own if category != wanted]
            sources = [name for name in sorted(earlier) if pictures(name, wanted, "train")]
            if not others and not sources:
                continue
            if sources and (not others or draw.random() < 0.5):
                shown = (draw.choice(sources), wanted)
                text = draw.choice(DOMAIN_CHANGE).format(self._noun(domain))
            else:
                shown = (domain, draw.choice(others))
                text = draw.choice(CLASS_CHANGE).format(self._noun(wanted))
            reference = draw.choice(pictures(*shown, "train"))
            target = draw.choice(pictures(domain, wanted, "train"))
            name, label = f"{domain}/train/{len(found):05d}", f"{domain}/{wanted}"
            extra = (
                (Candidate(reference, "/".join(shown), "reference"),) if self.negatives == "reference" else ()
            )
            triplet = Triplet(name, reference, text, target, label, domain, extra)
            found.setdefault((reference.key, text, target.key), triplet)
            if len(found) == self.train:
                break
        return tuple(found.values())

    def _retrieval_sets(self, split: str) -> dict[str, RetrievalSet]:
        """The queries of every domain, and the one gallery that they share."""
        everywhere, classes = sorted(self._stream), self._tree.classes
        cells = {(d, c): self._tree.pictures(d, c, split) for d in everywhere for c in classes}
        cells = {cell: pictures for cell, pictures in cells.items() if pictures}
        if self.gallery is not None:
            if self.gallery < len(cells):
                raise UserError(f"gallery {self.gallery} is too small for {len(cells)} domains x classes")
            capped: dict[tuple[str, str], list[Picture]] = {}
            for cell, picture in balanced(cells, self.gallery):
                capped.setdefault(cell, []).append(picture)
            cells = {cell: tuple(pictures) for cell, pictures in capped.items()}
        pictures = tuple(sorted((p for cell in cells.values() for p in cell), key=lambda p: p.key))
        content = stable_hash(*(p.key for p in pictures))
        gallery = Gallery(f"{self._tree.root.name}/{split}@{content:016x}", pictures)
        return {
            d: RetrievalSet(draw_queries(d, split, cells, self.queries, self._noun), gallery, _PROTOCOL)
            for d in everywhere
        }

    def _probes(self) -> list[Probe]:
        if self.holdout is None:
            return []
        classes = self._tree.classes
        shown = [(p, i) for i, c in enumerate(classes) for p in self._tree.pictures(self.holdout, c, "test")]
        if not shown:
            raise UserError(f"holdout domain '{self.holdout}' has no test pictures")
        pictures, labels = zip(*shown, strict=True)
        prompts = tuple(f"a picture of {self._noun(category)}" for category in classes)
        return [ClassificationProbe(f"{self.holdout}-classification", pictures, prompts, labels)]

    def _noun(self, name: str) -> str:
        return with_article((self.words or {}).get(name) or to_words(name))

    def _caption(self, picture: Picture, domain: str, category: str) -> str:
        form = _CAPTIONS[stable_hash("caption", picture.key) % len(_CAPTIONS)]
        return form.format(style=self._noun(domain), thing=self._noun(category))
