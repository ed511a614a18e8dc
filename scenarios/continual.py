"""Any benchmark as a stream of experiences: by domain, by a tag, by time, or by what its pictures show."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import Any, Literal

from clplat.data.records import Domain, Example, Query
from clplat.errors import UserError, unknown_name
from clplat.parts import Probe, Scenario

from ._continual import Deal, by_tag, by_time, in_galleries
from ._stream import Stream

__all__ = ["Continual"]


class Continual(Stream):
    """Deals the records of another scenario into experiences, and says what their galleries hold.

    Args:
        source: the scenario that is dealt out, such as ``fashioniq``; its options are
            ``--scenario.source.<option>``.
        by: ``domain`` keeps its domains; ``tag`` makes an experience for each value of a tag or group;
            ``time`` cuts a tag that is a time into ``parts`` of equally many training examples; ``concept``
            makes ``parts`` clusters of what the reference pictures show to ``model``, largest first.
        tag: name of the tag, for ``tag`` and ``time``: of queries' tags and of examples' groups.
        parts: number of experiences, for ``time`` and ``concept``.
        gallery: ``source`` ranks queries against what they were ranked against in their benchmark; ``union``
            against all galleries of the benchmark; ``growing`` against what has arrived by then: answers of
            the experiences so far, and a growing share of all other items.
        order: the experiences in stream order; by default as they are found.
        model: backbone whose frozen features tell concepts apart.
        seed: of the centres that clustering begins with.

    Example:
        >>> from scenarios.catalogue import Catalogue
        >>> source = Catalogue(domains=2, train=8, queries=8, gallery=20)
        >>> stream, _ = Continual(source, by="domain", gallery="growing").build()
        >>> [len(domain.test.gallery.items) for domain in stream]
        [21, 40]
    """

    def __init__(
        self,
        source: Scenario,
        by: Literal["domain", "tag", "time", "concept"] = "domain",
        tag: str | None = None,
        parts: int = 5,
        gallery: Literal["source", "union", "growing"] = "source",
        order: list[str] | None = None,
        model: str = "clplat-tiny",
        seed: int | None = None,
    ) -> None:
        if (tag is None) == (by in ("tag", "time")):
            raise ValueError(f"by '{by}' {'needs the name of a tag' if tag is None else 'takes no tag'}")
        if parts < 1:
            raise ValueError(f"parts must be at least 1, not {parts}")
        self.source, self.by, self.tag, self.parts = source, by, tag, parts
        self.gallery, self.order, self.model, self.seed = gallery, order, model, seed

    def refuse_missing(self) -> None:
        """Raise UserError where the source lacks its files; nothing is read."""
        if refuse := getattr(self.source, "refuse_missing", None):
            refuse()

    def build(self) -> tuple[list[Domain], list[Probe]]:
        """The experiences in stream order and the source's probes; the same objects at every call."""
        return self._built

    @property
    def report(self) -> dict[str, Any]:
        """What each experience holds, and what the source says of itself."""
        sizes = {
            domain.name: {
                "train": len(domain.train),
                **{name: [len(held.queries), len(held.gallery.items)] for name, held in domain.sets.items()},
            }
            for domain in self.build()[0]
        }
        return {"source": getattr(self.source, "report", {}), "experiences": sizes}

    @property
    def remarks(self) -> list[str]:
        """What the source says of its data."""
        return list(getattr(self.source, "remarks", ()))

    @cached_property
    def _built(self) -> tuple[list[Domain], list[Probe]]:
        sources, probes = self.source.build()
        examples = [example for domain in sources for example in domain.train]
        places = [(name, i) for i, domain in enumerate(sources) for name in domain.sets]
        asked = [(name, i, query) for name, i in places for query in sources[i].sets[name].queries]
        deal = self._deal(list(sources), examples, asked)
        names = self._ordered(deal.names)
        sets: dict[str, dict[str, Any]] = {name: {} for name in names}
        for name in dict.fromkeys(name for name, _ in places):
            numbers = [i for i, domain in enumerate(sources) if name in domain.sets]
            dealt: dict[str, list[tuple[int, Query]]] = {experience: [] for experience in names}
            for (held, i, query), experience in zip(asked, deal.queries, strict=True):
                if held == name:
                    dealt[experience].append((numbers.index(i), self._named(query, sources[i].name)))
            if empty := [experience for experience, queries in dealt.items() if not queries]:
                raise UserError(
                    f"scenario continual: no query of '{name}' belongs to '{empty[0]}'; choose fewer parts"
                )
            held_sets = [sources[i].sets[name] for i in numbers]
            for experience, made in in_galleries(self.gallery, name, held_sets, dealt).items():
                sets[experience][name] = made
        train: dict[str, list[Example]] = {name: [] for name in names}
        for example, experience in zip(examples, deal.examples, strict=True):
            train[experience].append(replace(self._named(example, example.domain), domain=experience))
        beside = {domain.name: domain.reference for domain in sources} if self.by == "domain" else {}
        domains = [
            Domain(name, train[name], reference=beside.get(name, ()), sets=sets[name]) for name in names
        ]
        return domains, list(probes)

    def _deal(
        self, sources: list[Domain], examples: list[Example], asked: list[tuple[str, int, Query]]
    ) -> Deal:
        queries = [query for _, _, query in asked]
        if self.by == "domain":
            names = tuple(domain.name for domain in sources)
            return Deal(names, tuple(e.domain for e in examples), tuple(names[i] for _, i, _ in asked))
        if self.by == "concept":
            from ._continual.concepts import by_concept  # it loads a model

            held = [(sources[i].sets[name].gallery, query) for name, i, query in asked]
            return by_concept(examples, held, self.parts, self.model, self.seed or 0)
        assert self.tag is not None
        if self.by == "time":
            return by_time(examples, queries, self.tag, self.parts)
        return by_tag(examples, queries, self.tag)

    def _ordered(self, names: tuple[str, ...]) -> list[str]:
        for name in self.order or ():
            if name not in names:
                raise unknown_name("experience in order", name, names)
        if self.order is not None and sorted(self.order) != sorted(names):
            raise UserError(f"order must name each experience once: {', '.join(names)}")
        return list(self.order or names)

    def _named(self, record: Any, source: str) -> Any:
        """With an id that no record of another domain of the source has."""
        return record if self.by == "domain" else replace(record, id=f"{source}/{record.id}")
