"""Fills one row of R and of C: embeds every gallery once per model version and ranks every domain's queries.

The evaluator knows no strategy. It sees an encoder (the retriever), pictures and texts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from clplat.data.records import Domain, Picture, Probe, Query, RetrievalSet
from clplat.errors import UserError
from clplat.evaluation.asked import Asked, asked, measure
from clplat.evaluation.embedding import Embedder, Encoder
from clplat.evaluation.lists import Lists, best_of
from clplat.evaluation.probes import classification_accuracy, image_text_recall

__all__ = ["Encoder", "Evaluator", "SetMetrics", "VersionMetrics", "primary_of"]

#: A cell of a table of metrics: one domain's value, None where its protocol does not measure the metric.
Table = dict[str, list[float | None]]


@dataclass
class SetMetrics:
    """What is measured of a further set of the domains: metric -> one value per domain, and ties."""

    metrics: Table = field(default_factory=dict)
    ties: list[int | None] = field(default_factory=list)


@dataclass
class VersionMetrics:
    """All that is measured of one model version, in plain data, and its embeddings.

    ``ranks`` and ``values`` hold one number per query of each domain: the rank of its best-placed target, and
    the primary metric, 0 to 1. ``lists`` holds the best rows of every query: set -> domain -> lists.
    """

    metrics: Table = field(default_factory=dict)
    tags: dict[str, Table] = field(default_factory=dict)
    baselines: dict[str, Table] = field(default_factory=dict)
    ties: list[int] = field(default_factory=list)
    probes: dict[str, dict[str, float]] = field(default_factory=dict)
    sets: dict[str, SetMetrics] = field(default_factory=dict)
    ranks: dict[str, Tensor] = field(default_factory=dict)
    values: dict[str, Tensor] = field(default_factory=dict)
    galleries: dict[str, Tensor] = field(default_factory=dict)
    queries: dict[str, Tensor] = field(default_factory=dict)
    lists: dict[str, dict[str, Lists]] = field(default_factory=dict)


class Evaluator:
    """Measures a model on every domain, seen and future, and on the probes.

    Args:
        domains: in stream order.
        probes: zero-shot data outside the stream.
        split: ``"test"`` or ``"val"``.
        pictures, tokenize, composers, batch_size: see `Embedder`.

    Raises:
        UserError: a domain has no such split, or its labels are hidden.
    """

    def __init__(
        self,
        domains: Sequence[Domain],
        probes: Sequence[Probe],
        *,
        split: str,
        pictures: Callable[[Sequence[Picture]], Any],
        tokenize: Callable[[Sequence[str]], Tensor],
        composers: Mapping[str, Any],
        batch_size: int = 256,
    ) -> None:
        self.names, self.split, self.probes = [domain.name for domain in domains], split, probes
        self.sets = [_known(domain, split) for domain in domains]
        self.primary = primary_of(self.sets)
        self.embed = Embedder(pictures, tokenize, composers, batch_size)
        self.images, self.texts, self.queries = self.embed.images, self.embed.texts, self.embed.queries
        #: Further sets: name -> domain -> set.
        self.further: dict[str, dict[str, RetrievalSet]] = {}
        for domain in domains:
            for name, held in domain.beside(split).items():
                self.further.setdefault(name, {})[domain.name] = held
        every = [*self.sets, *(held for one in self.further.values() for held in one.values())]
        self._rows = {id(held): asked(held) for held in every}
        self.tags = sorted({tag for held in self.sets for query in held.queries for tag in _tags_of(query)})
        items = [item for held in every for item in held.gallery.items]
        items += [item for held in every for query in held.queries for item in query.items]
        shown = [item.picture for item in items if item.picture is not None]
        shown += [picture for probe in probes for picture in probe.pictures]
        self._all_pictures = list({picture.key: picture for picture in shown}.values())
        said = [item.text for item in items if item.text is not None]
        self._all_texts = list(dict.fromkeys(said + [text for probe in probes for text in probe.texts]))

    def rows_of(self, held: RetrievalSet) -> Asked:
        """What one of the evaluator's sets asks for, in rows of its gallery."""
        return self._rows[id(held)]

    def row(
        self, encoder: Encoder, on_domain: Callable[[int, dict[str, float]], None] | None = None
    ) -> VersionMetrics:
        """Measure one model version; ``on_domain(j, metrics)`` is called as each cell is known."""
        row = VersionMetrics()
        encoder.prepare(self.embed.pictures(self._all_pictures), self.embed.tokenize(self._all_texts))
        cells: list[dict[str, float]] = []
        blind: list[dict[str, dict[str, float]]] = []
        tagged: list[dict[str, dict[str, float]]] = []
        for name, held in zip(self.names, self.sets, strict=True):
            if held.gallery.name not in row.galleries:
                row.galleries[held.gallery.name] = self.embed.items(encoder, held.gallery.items)
            embedded = self.queries(encoder, held.queries)
            row.queries[name] = embedded.pop("own")
            own = self._values(held, row.queries[name], row.galleries)
            row.ranks[name], ties = own.pop("rank"), own.pop("ties")
            row.values[name] = own[held.protocol.primary].float()
            row.ties.append(int(ties.sum()))
            row.lists.setdefault(self.split, {})[name] = self._lists(held, row.queries[name], row.galleries)
            cells.append(self._means(held, own))
            others = {who: self._values(held, found, row.galleries) for who, found in embedded.items()}
            blind.append({who: self._means(held, values) for who, values in others.items()})
            masks = {tag: [tag in _tags_of(query) for query in held.queries] for tag in self.tags}
            some = {tag: torch.tensor(mask) for tag, mask in masks.items() if any(mask)}
            tagged.append(
                {tag: self._means(held, {k: v[mask] for k, v in own.items()}) for tag, mask in some.items()}
            )
            if on_domain is not None:
                on_domain(len(cells) - 1, cells[-1])
        row.metrics = _table(cells)
        named = dict.fromkeys(who for cell in blind for who in cell)
        row.baselines = {who: _table([cell.get(who, {}) for cell in blind], row.metrics) for who in named}
        row.tags = {tag: _table([cell.get(tag, {}) for cell in tagged], row.metrics) for tag in self.tags}
        self._measure_further(encoder, row)
        for probe in self.probes:
            row.probes[probe.name] = self._probe(encoder, probe)
        return row

    def _measure_further(self, encoder: Encoder, row: VersionMetrics) -> None:
        """Sets beside the split: measured where their labels are known, and listed in any case."""
        galleries = dict(row.galleries)
        for what, domains in self.further.items():
            cells: list[dict[str, float]] = []
            out = SetMetrics()
            for name in self.names:
                held = domains.get(name)
                cells.append({})
                out.ties.append(None)
                if held is None:
                    continue
                if held.gallery.name not in galleries:
                    galleries[held.gallery.name] = self.embed.items(encoder, held.gallery.items)
                queries = self.queries(encoder, held.queries)["own"]
                row.lists.setdefault(what, {})[name] = self._lists(held, queries, galleries)
                if held.labels == "known":
                    found = self._values(held, queries, galleries)
                    out.ties[-1] = int(found["ties"].sum())
                    cells[-1] = self._means(held, found)
            out.metrics = _table(cells)
            row.sets[what] = out

    def _probe(self, encoder: Encoder, probe: Probe) -> dict[str, float]:
        images, texts = self.images(encoder, probe.pictures), self.texts(encoder, probe.texts)
        if probe.kind == "retrieval":
            return image_text_recall(images, texts, groups=probe.texts)
        return {"accuracy": classification_accuracy(images, texts, torch.tensor(probe.labels))}

    def cross_version(
        self, queries: Mapping[str, Tensor], galleries: Mapping[str, Tensor]
    ) -> dict[str, float]:
        """One cell of C: each metric's mean over domains, these queries in that version's galleries."""
        cells = []
        for name, held in zip(self.names, self.sets, strict=True):
            cells.append(self._means(held, self._values(held, queries[name], galleries)))
        known = {metric: [cell[metric] for cell in cells if metric in cell] for metric in _table(cells)}
        return {metric: sum(values) / len(values) for metric, values in known.items()}

    def _values(
        self, held: RetrievalSet, queries: Tensor, galleries: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        return measure(held, self.rows_of(held), queries, galleries[held.gallery.name])

    def _lists(self, held: RetrievalSet, queries: Tensor, galleries: Mapping[str, Tensor]) -> Lists:
        rows = self.rows_of(held)
        among = rows.candidates if all(m.over == "sub" for m in held.protocol.measured) else None
        return best_of(queries, galleries[held.gallery.name], rows.exclude, among=among)

    def _means(self, held: RetrievalSet, values: Mapping[str, Tensor]) -> dict[str, float]:
        """A cell of R, in percent."""
        named = {name: value for name, value in values.items() if name not in ("rank", "ties")}
        if self.primary == "primary":
            named["primary"] = values[held.protocol.primary]
        return {metric: 100.0 * value.double().mean().item() for metric, value in named.items()}


def primary_of(sets: Sequence[RetrievalSet]) -> str:
    """The metric that scores and tables of a stream show; ``primary`` where each domain has its own."""
    named = list(dict.fromkeys(held.protocol.primary for held in sets))
    return named[0] if len(named) == 1 else "primary"


def _known(domain: Domain, split: str) -> RetrievalSet:
    held = domain.sets.get(split)
    other = [key for key, one in domain.sets.items() if key in ("val", "test") and one.labels == "known"]
    if held is None or held.labels == "hidden":
        why = f"has no set '{split}'" if held is None else f"hides the labels of '{split}'"
        there = f"; choose --evaluation.split {other[0]}" if other else ""
        raise UserError(f"domain '{domain.name}' {why}{there}")
    return held


def _table(cells: Sequence[Mapping[str, float]], named: Mapping[str, Any] | None = None) -> Table:
    """Metric -> one value per domain, None where a domain has no such metric."""
    names = dict.fromkeys(named if named is not None else (name for cell in cells for name in cell))
    return {name: [cell.get(name) for cell in cells] for name in names}


def _tags_of(query: Query) -> set[str]:
    return {f"{key}={value}" for key, value in query.tags.items()}
