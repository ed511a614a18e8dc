"""Post-processors that map embeddings: fitted on training data seen, measured beside the raw ranking."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from pathlib import Path

from torch import Tensor

from clplat.evaluation.evaluator import SetMetrics, VersionMetrics
from clplat.parts.postprocessors._base import Banks, Scored
from clplat.runs.assembly import Assembly
from clplat.runs.pairs import Anchors
from clplat.trees import load_tree, save_tree

__all__ = ["PROCESSED", "Processing"]

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
    """

    def __init__(self, folder: Path, parts: Assembly, limit: int) -> None:
        self.folder, self.parts, self.limit = folder, parts, limit
        self.name = f"{parts.evaluator.split}/{PROCESSED}"
        self.cells: list[dict[str, float]] = []
        self._queries: Tensor | None = None

    def begin(self, version: int) -> None:
        """Embed the banks by a new version."""
        self.cells, self._queries = [], None
        if version:
            embed, encoder = self.parts.evaluator.embed, self.parts.retriever
            seen = Anchors.of(self.parts.domains[:version], self.limit)
            self._queries = seen.embedded("queries", embed, encoder)
            save_tree(self._file(version), {"pictures": seen.embedded("pictures", embed, encoder)})

    def measure(
        self,
        old: int,
        queries: Mapping[str, Tensor],
        galleries: Mapping[str, Tensor],
        bridge: Callable[[Tensor], Tensor] | None = None,
        stored: bool = True,
    ) -> None:
        """One cell of C.

        Args:
            old: the version that made the galleries.
            queries, galleries: in one space.
            bridge: brought the queries to the galleries' space.
            stored: the galleries are as that version stored them; no bank goes with mapped ones.
        """
        mapped = self._mapped(old if stored else 0, queries, galleries, bridge)
        evaluator = self.parts.evaluator
        sets = zip(evaluator.names, evaluator.sets, strict=True)
        self._row = [evaluator.measured(held, *mapped[name]) for name, held in sets]
        names = dict.fromkeys(metric for cell in self._row for metric in cell)
        self.cells.append({m: _mean([cell[m] for cell in self._row if m in cell]) for m in names})

    def finish(self, row: VersionMetrics) -> None:
        """The last cell, a version in its own gallery, is the row of R."""
        names = dict.fromkeys(metric for cell in self._row for metric in cell)
        table = {metric: [cell.get(metric) for cell in self._row] for metric in names}
        row.sets[self.name] = SetMetrics(table, [None] * len(self._row))

    def _mapped(
        self,
        old: int,
        queries: Mapping[str, Tensor],
        galleries: Mapping[str, Tensor],
        bridge: Callable[[Tensor], Tensor] | None,
    ) -> dict[str, tuple[Tensor, Tensor]]:
        evaluator, part = self.parts.evaluator, copy.deepcopy(self.parts.postprocessor)
        sets = dict(zip(evaluator.names, evaluator.sets, strict=True))
        if self._queries is None or part is None:
            return {name: (queries[name], galleries[held.gallery.name]) for name, held in sets.items()}
        bank = self._queries if bridge is None else bridge(self._queries)
        pictures = load_tree(self._file(old))["pictures"] if old else bank[:0]
        part.fit(Banks(bank, pictures))
        return {
            name: part.map(
                Scored(queries[name], evaluator.rows_of(held).exclude), Scored(galleries[held.gallery.name])
            )
            for name, held in sets.items()
        }

    def _file(self, version: int) -> Path:
        return self.folder / "banks" / f"{version}.safetensors"


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
