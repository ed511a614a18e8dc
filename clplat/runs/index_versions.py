"""Keeps what each model version embedded, and fills C: new queries against every older index."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TypeAlias

from torch import Tensor

from clplat.data.records import Picture
from clplat.errors import UserError
from clplat.evaluation.comparing import compared_by
from clplat.evaluation.evaluator import VersionMetrics
from clplat.models.frozen import weights_fixed
from clplat.parts.projections._base import Projection
from clplat.runs.assembly import Assembly
from clplat.trees import load_tree, save_tree

#: A row of C for each metric.
Cells: TypeAlias = dict[str, list[float | None]]


class IndexVersions:
    """What is stored of the galleries by every version, and projections into each older version's space.

    Queries of version i reach the index of version j through a projection fitted on pairs: training pictures
    of the domains up to the one that made version j + 1, embedded by version j when it was current, and by
    version i now. Gallery pictures never take part in a fit.

    Args:
        folder: of the experiment; files are written once per version and never rewritten.
        parts: the experiment's parts.
        anchors: training pictures, at most, for one fit.
    """

    def __init__(self, folder: Path, parts: Assembly, anchors: int) -> None:
        self.folder, self.parts, self.limit = folder, parts, anchors
        self._projects = parts.retriever.projection.fitted

    def _file(self, kind: str, version: int, view: str = "") -> Path:
        return self.folder / kind / view / f"{version}.safetensors"

    def _anchors(self, version: int) -> list[Picture]:
        """Training pictures seen when ``version`` became old, evenly over domains."""
        seen = self.parts.domains[: version + 1]
        share = max(1, self.limit // len(seen))
        chosen = []
        for domain in seen:
            pictures = domain.anchors
            chosen += pictures[:: max(1, len(pictures) // share)][:share]
        if not chosen:
            names = ", ".join(domain.name for domain in seen)
            raise UserError(
                f"there are no training pictures in {names} that a projection could be fitted on; "
                "let another domain come first, or choose --projection identity"
            )
        return chosen

    def remember_anchors(self, version: int) -> None:
        """Before the next experience: embed the anchors by the version that is about to become old."""
        if self._projects:
            with weights_fixed(), self.parts.retriever.as_version(version):
                embedded = self.parts.evaluator.images(self.parts.retriever.eval(), self._anchors(version))
            save_tree(self._file("anchors", version), {"old": embedded})

    def cells(self, version: int, row: VersionMetrics) -> dict[str, Cells]:
        """Row ``version`` of C by view and metric: this version's queries in every index up to its own.

        The main view is called ``""``. A cell is None where the index has another width than the queries.
        """
        seen = {"": row, **row.views}
        for view, one in seen.items():
            save_tree(self._file("galleries", version, view), one.galleries)
        out: dict[str, Cells] = {view: {} for view in seen}
        for old in range(version + 1):
            queries = row.queries
            if self._projects and old < version:
                projection = self._fitted(version, old)
                queries = {name: projection(embedded) for name, embedded in queries.items()}
            with self.parts.retriever.as_version(old):
                ways = compared_by(self.parts.retriever).values()
            for (view, one), compared in zip(seen.items(), ways, strict=True):
                now = old == version
                stored = one.galleries if now else load_tree(self._file("galleries", old, view))
                for metric, value in self.parts.evaluator.cross_version(queries, stored, compared).items():
                    out[view].setdefault(metric, []).append(value)
        return out

    def galleries(self, version: int) -> dict[str, Tensor]:
        """What a version stored of the galleries."""
        held: dict[str, Tensor] = load_tree(self._file("galleries", version))
        return held

    def backfill(self, version: int, row: VersionMetrics) -> float | None:
        """The share in percent of gallery vectors that this version changed: what an index must take in anew.

        Exactly equal vectors need nothing; None for the untrained model. A picture of several galleries
        counts in each.
        """
        if version == 0:
            return None
        before = self.galleries(version - 1)
        changed = sum(_changed(row.galleries[name], old) for name, old in before.items())
        return 100.0 * changed / sum(len(old) for old in before.values())

    def _fitted(self, version: int, old: int) -> Projection:
        then = load_tree(self._file("anchors", old))["old"]
        now = self.parts.evaluator.images(self.parts.retriever, self._anchors(old))
        projection = copy.deepcopy(self.parts.retriever.projection).cpu()
        projection.fit(now, then)
        save_tree(self.folder / "projections" / f"{version}-to-{old}.safetensors", projection.state_dict())
        return projection.requires_grad_(False)


def _changed(new: Tensor, old: Tensor) -> int:
    """How many of the same items are stored otherwise; all of them where another width or type is stored."""
    if new.shape != old.shape or new.dtype != old.dtype:
        return len(old)
    return int((new != old).any(dim=1).sum())
