"""Post-processors that map embeddings: fitted on training data seen, measured beside the raw ranking."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from clplat.data.items import Item
from clplat.documents.tensors import read_tensors
from clplat.errors import UserError
from clplat.evaluation.asked import measure
from clplat.evaluation.comparing import Compared
from clplat.evaluation.crowding import ANSWERS, crowding
from clplat.evaluation.evaluator import SetMetrics, VersionMetrics
from clplat.parts.postprocessors._base import Banks, Scored
from clplat.parts.projections._base import Projection
from clplat.parts.scorers.dot import Dot
from clplat.runs.assembly import Assembly
from clplat.runs.pairs import Anchors, Taught
from clplat.trees import save_tree

__all__ = ["PROCESSED", "Processing", "words_of"]

#: What the name of a set gets where its embeddings were mapped.
PROCESSED = "processed"


class Processing:
    """Fits the post-processor anew for every pair of a query version and a gallery version.

    Banks are training queries by the version that asks, and training pictures by the version that made the
    gallery, of domains seen by then: never validation or test data. The untrained model saw none, so that its
    queries stay as they are.

    Args:
        folder: of the experiment.
        parts: with a post-processor that maps.
        limit: rows of a bank, at most.

    Raises:
        UserError: scores are no inner products.
    """

    def __init__(self, folder: Path, parts: Assembly, limit: int) -> None:
        if not isinstance(parts.retriever.scorer, Dot):
            raise UserError("a post-processor that maps embeddings needs the scorer 'dot'")
        self.folder, self.parts, self.limit = folder, parts, limit
        self.name = f"{parts.evaluator.split}/{PROCESSED}"
        self.cells: list[dict[str, float]] = []
        self.crowding: dict[str, list[float]] = {}
        self._queries: Tensor | None = None
        shares = {held.gallery.name: words_of(held.gallery.items) for held in parts.evaluator.sets}
        self._words = {name: share for name, share in shares.items() if share.any()}
        self._says = bool(self._words)
        self._learns = parts.postprocessor is not None and parts.postprocessor.learns

    def begin(self, version: int) -> None:
        """Embed the banks by a new version."""
        self.cells, self._queries = [], None
        if version:
            embed, encoder = self.parts.evaluator.embed, self.parts.retriever
            if self._learns:
                self._queries, taught = self._asked(version), self._taught(version)
                save_tree(self._file(version), {"answers": embed.items(encoder, taught.answers)})
                return
            seen = Anchors.of(self.parts.domains[:version], self.limit)
            self._queries = seen.embedded("queries", embed, encoder)
            what = ("pictures", "texts") if self._says else ("pictures",)
            save_tree(self._file(version), {one: seen.embedded(one, embed, encoder) for one in what})

    def measure(
        self,
        old: int,
        queries: Mapping[str, Tensor],
        held: Compared,
        bridge: Projection | None = None,
    ) -> None:
        """One cell of C.

        Args:
            old: the version that made the galleries.
            queries: rows of the head; held: what is stored, and how it is compared.
            bridge: brought the queries, or the galleries, to one space.
        """
        evaluator = self.parts.evaluator
        sets = list(zip(evaluator.names, evaluator.sets, strict=True))
        if not all(held.fits(one, queries[name]) for name, one in sets):
            self.cells.append({})
            return
        mapped = self._mapped(old, queries, held, bridge)
        found = {
            name: measure(one, evaluator.rows_of(one), *mapped[name], listed=ANSWERS) for name, one in sets
        }
        # Of a query's own candidates there may be a ranking too; the first one is of the whole gallery.
        self._tops = {name: next(iter(one.tops.values())) for name, one in found.items()}
        self._galleries = {name: (held.rows(one.gallery.name), mapped[name][1]) for name, one in sets}
        self._row = [evaluator.means(one, found[name].values) for name, one in sets]
        names = dict.fromkeys(metric for cell in self._row for metric in cell)
        self.cells.append({m: _mean([cell[m] for cell in self._row if m in cell]) for m in names})

    def finish(self, row: VersionMetrics) -> None:
        """The last cell, a version in its own gallery, is the row of R."""
        names = dict.fromkeys(metric for cell in self._row for metric in cell)
        table = {metric: [cell.get(metric) for cell in self._row] for metric in names}
        row.sets[self.name] = SetMetrics(table, [None] * len(self._row))
        evaluator = self.parts.evaluator
        before = {name: lists.rows for name, lists in row.lists[evaluator.split].items()}
        raw = crowding(before, {name: one for name, (one, _) in self._galleries.items()})
        now = crowding(self._tops, {name: one for name, (_, one) in self._galleries.items()})
        self.crowding = {name: [raw[name], now[name]] for name in raw}

    def _mapped(
        self, old: int, queries: Mapping[str, Tensor], held: Compared, bridge: Projection | None
    ) -> dict[str, tuple[Tensor, Tensor]]:
        evaluator, part = self.parts.evaluator, copy.deepcopy(self.parts.postprocessor)
        sets = dict(zip(evaluator.names, evaluator.sets, strict=True))
        rows = {
            name: (held.queries(queries[name]), held.rows(one.gallery.name)) for name, one in sets.items()
        }
        if self._queries is None or part is None:
            return rows
        asks = bridge is not None and bridge.maps == "query"
        # No bank goes with galleries of the untrained model, nor with those that were mapped.
        kept = old > 0 and (bridge is None or asks)
        bank = self._asked(old) if self._learns and kept else self._queries
        bank = held.queries(bridge(bank) if bridge is not None and asks else bank)
        part.fit(self._banks(old, bank) if kept else Banks(bank, bank[:0]))
        found = {}
        for name, one in sets.items():
            gallery = Scored(rows[name][1], words=self._words.get(one.gallery.name))
            found[name] = part.map(Scored(rows[name][0], evaluator.rows_of(one).exclude), gallery)
        return found

    def _banks(self, old: int, queries: Tensor) -> Banks:
        if self._learns:
            answers = read_tensors(self._file(old), "bank of training answers", ["answers"])["answers"]
            return Banks(queries, answers, answers=answers, labels=self._taught(old).labels)
        wanted = ["pictures", "texts"] if self._says else ["pictures"]
        held = read_tensors(self._file(old), "bank of training pictures", wanted)
        return Banks(queries, held["pictures"], held.get("texts"))

    def _taught(self, version: int) -> Taught:
        return Taught.of(self.parts.domains[:version], self.limit)

    def _asked(self, version: int) -> Tensor:
        """The training queries that a version had seen, by the newest one."""
        return self._taught(version).asked(self.parts.evaluator.embed, self.parts.retriever)

    def _file(self, version: int) -> Path:
        return self.folder / "banks" / f"{version}.safetensors"


def words_of(items: Sequence[Item]) -> Tensor:
    """How much of each item is words (N,): 0 of a picture, 1 of a text, a half of both.

    Example:
        >>> words_of([Item("a", text="a shoe"), Item("b", text="a bag")])
        tensor([1., 1.])
    """
    return torch.tensor([(item.text is not None) / len(_held(item)) for item in items])


def _held(item: Item) -> list[object]:
    return [what for what in (item.picture, item.text) if what is not None]


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
