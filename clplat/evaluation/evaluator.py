"""Fills one row of R and of C: embeds every gallery once per model version and ranks every domain's queries.

The evaluator knows no strategy. It sees an encoder (the retriever), pictures and texts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from clplat.data.records import Domain, Picture, RetrievalSet
from clplat.errors import UserError
from clplat.evaluation.asked import Asked, asked
from clplat.evaluation.comparing import Compared, compared_by
from clplat.evaluation.embedding import Embedder, Encoder
from clplat.evaluation.lists import LISTED
from clplat.evaluation.model_view import VersionView
from clplat.evaluation.tabulating import SetMetrics, Tables, VersionMetrics, table, tags_of
from clplat.parts.probes._base import ModelView, Probe

__all__ = ["Encoder", "Evaluator", "SetMetrics", "VersionMetrics", "primary_of"]


class Evaluator:
    """Measures a model on every domain, seen and future, and on the probes.

    Args:
        domains: in stream order.
        probes: what else is measured of every version.
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
        self.tags = sorted({tag for held in self.sets for query in held.queries for tag in tags_of(query)})
        items = [item for held in every for item in held.gallery.items]
        items += [item for held in every for query in held.queries for item in query.items]
        shown = [item.picture for item in items if item.picture is not None]
        shown += [picture for probe in probes for picture in probe.pictures]
        self._all_pictures = list({picture.key: picture for picture in shown}.values())
        said = [text for item in items for text in item.said]
        self._all_texts = list(dict.fromkeys(said + [text for probe in probes for text in probe.texts]))

    def rows_of(self, held: RetrievalSet) -> Asked:
        """What one of the evaluator's sets asks for, in rows of its gallery."""
        return self._rows[id(held)]

    def prepare(self, encoder: Encoder) -> None:
        """Let a model embed all pictures and texts at once, as far as it keeps them."""
        encoder.prepare(self.embed.pictures(self._all_pictures), self.embed.tokenize(self._all_texts))

    def row(
        self,
        encoder: Encoder,
        on_domain: Callable[[int, dict[str, float]], None] | None = None,
        *,
        version: int = 0,
        older: Callable[[int], ModelView] | None = None,
    ) -> VersionMetrics:
        """Measure one model version.

        Args:
            encoder: the model.
            on_domain: called with (j, metrics) as each cell is known.
            version: experiences trained.
            older: version -> what probes see of it.
        """
        self.prepare(encoder)
        seen = {name: Tables(one, self.tags, self.means) for name, one in compared_by(encoder).items()}
        main, *others = seen.values()
        rows: dict[str, Tensor] = {}
        for name, held in zip(self.names, self.sets, strict=True):
            if held.gallery.name not in rows:
                rows[held.gallery.name] = self.embed.items(encoder, held.gallery.items)
            embedded = self.queries(encoder, held.queries)
            for one in (main, *others):
                one.compared.take(held.gallery.name, rows[held.gallery.name])
                one.add(self.split, name, held, self.rows_of(held), embedded, listed=one is main)
            main.row.queries[name] = embedded["own"]
            if on_domain is not None:
                on_domain(len(main.cells) - 1, main.cells[-1])
        row = main.finished()
        row.views = {name: one.finished() for name, one in seen.items() if one is not main}
        self._measure_further(encoder, row, main.compared)
        view = self.view(lambda: encoder, version, lambda: row.galleries, row.queries, older, main.compared)
        for probe in self.probes:
            row.probes[probe.name] = probe.measure(view)
        return row

    def view(
        self,
        encoder: Callable[[], Any],
        version: int,
        galleries: Callable[[], Mapping[str, Tensor]],
        asked: Mapping[str, Tensor] | None = None,
        older: Callable[[int], ModelView] | None = None,
        compared: Compared | None = None,
    ) -> VersionView:
        """One model version in the hands of probes, see `VersionView`."""
        sets = dict(zip(self.names, self.sets, strict=True))
        return VersionView(self.embed, sets, version, encoder, galleries, asked, older, compared)

    def _measure_further(self, encoder: Encoder, row: VersionMetrics, compared: Compared) -> None:
        """Sets beside the split: measured where their labels are known, and listed in any case."""
        compared = compared.holding(compared.stored)
        for what, domains in self.further.items():
            cells: list[dict[str, float]] = []
            out = SetMetrics()
            for name in self.names:
                held = domains.get(name)
                cells.append({})
                out.ties.append(None)
                if held is None:
                    continue
                if held.gallery.name not in compared.stored:
                    compared.take(held.gallery.name, self.embed.items(encoder, held.gallery.items))
                queries, asked = self.queries(encoder, held.queries)["own"], self.rows_of(held)
                tops: dict[str, Tensor] = {}
                if held.labels == "known":
                    found = compared.measured(held, asked, queries, LISTED)
                    out.ties[-1] = int(found.values["ties"].sum())
                    cells[-1], tops = self.means(held, found.values), found.tops
                row.lists.setdefault(what, {})[name] = compared.lists(held, asked, queries, tops)
            out.metrics = table(cells)
            row.sets[what] = out

    def cross_version(
        self,
        queries: Mapping[str, Tensor],
        galleries: Mapping[str, Tensor],
        compared: Compared | None = None,
    ) -> dict[str, float | None]:
        """One cell of C: each metric's mean over domains, these queries in that version's galleries.

        Args:
            queries: rows of the head by domain; galleries: what is stored of them.
            compared: how that version compares them; by default by the dot product of the rows as they are.

        None where an index has another width than the queries.
        """
        compared = (compared or Compared()).holding(galleries)
        pairs = list(zip(self.names, self.sets, strict=True))
        if not all(compared.fits(held, queries[name]) for name, held in pairs):
            return dict.fromkeys([metric.name for _, one in pairs for metric in one.protocol.measured])
        cells = [
            self.means(held, compared.measured(held, self.rows_of(held), queries[name]).values)
            for name, held in pairs
        ]
        known = {metric: [cell[metric] for cell in cells if metric in cell] for metric in table(cells)}
        return {metric: sum(values) / len(values) for metric, values in known.items()}

    def means(self, held: RetrievalSet, values: Mapping[str, Tensor]) -> dict[str, float]:
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
