"""Keeps what each model version embedded, and fills C: new queries against every older index."""

from __future__ import annotations

import copy
from pathlib import Path

from torch import Tensor

from clplat.errors import unknown_name
from clplat.evaluation.evaluator import VersionMetrics
from clplat.models.frozen import weights_fixed
from clplat.parts.projections._base import Projection
from clplat.runs.assembly import Assembly
from clplat.runs.pairs import Anchors, VersionPairs
from clplat.trees import load_tree, save_tree


class IndexVersions:
    """Embeddings of the galleries by every version, and projections into each older version's space.

    Queries of version i reach the index of version j through a projection that learnt from pairs, or stored
    vectors of j come to i: training data of the domains up to the one that made version j + 1, embedded by
    version j when it was current, and by version i now. Gallery pictures never take part in a fit.

    Args:
        folder: of the experiment; files are written once per version and never rewritten.
        parts: the experiment's parts.
        anchors: training pictures, texts or queries, at most, for one fit.
    """

    def __init__(self, folder: Path, parts: Assembly, anchors: int) -> None:
        self.folder, self.parts, self.limit = folder, parts, anchors
        self.projection = parts.retriever.projection
        self._check()

    def _check(self) -> None:
        """Refuse a projection that asks for what nobody keeps."""
        allowed = {"reads": ("pictures", "pooled", "texts", "queries"), "stores": ("base",)}
        for what, names in allowed.items():
            for name in sorted(getattr(self.projection, what)):
                if name not in names:
                    raise unknown_name(f"entry of the projection's `{what}`", name, names)

    def _file(self, kind: str, version: int) -> Path:
        return self.folder / kind / f"{version}.safetensors"

    def _anchors(self, version: int) -> Anchors:
        """Training data seen when ``version`` became old."""
        return Anchors.of(self.parts.domains[: version + 1], self.limit)

    def remember_anchors(self, version: int) -> None:
        """Before the next experience: embed the anchors by the version that is about to become old."""
        if not self.projection.fitted:
            return
        with weights_fixed():
            encoder, embed = self.parts.retriever.eval(), self.parts.evaluator.embed
            anchors = self._anchors(version)
            tree = {what: anchors.embedded(what, embed, encoder) for what in sorted(self.projection.reads)}
            # The pictures are called as release 0.1.0 called them.
            save_tree(self._file("anchors", version), {_OLD.get(what, what): t for what, t in tree.items()})
            if version == 0 and self.projection.stores:
                every = [self._anchors(later).pictures for later in range(len(self.parts.domains))]
                shown = list({picture.key: picture for some in every for picture in some}.values())
                rows = embed.images(encoder, shown)
                keys = [picture.key for picture in shown]
                save_tree(self.folder / "anchors" / "base.safetensors", {"keys": keys, "rows": rows})

    def cells(self, version: int, row: VersionMetrics) -> dict[str, list[float | None]]:
        """Row ``version`` of C for each metric: this version's queries in every index up to its own.

        None where the two spaces have unequal widths and no projection lies between.
        """
        save_tree(self._file("galleries", version), row.galleries)
        cells: list[dict[str, float]] = []
        for old in range(version + 1):
            queries, galleries = row.queries, row.galleries if old == version else self.galleries(old)
            if self.projection.fitted and old < version:
                queries, galleries = self._bridged(version, old, queries, galleries)
            fits = {rows.shape[1:] for rows in (*queries.values(), *galleries.values())}
            cells.append(self.parts.evaluator.cross_version(queries, galleries) if len(fits) == 1 else {})
        return {metric: [cell.get(metric) for cell in cells] for metric in cells[-1]}

    def galleries(self, version: int) -> dict[str, Tensor]:
        """The galleries as a version embedded them."""
        held: dict[str, Tensor] = load_tree(self._file("galleries", version))
        return held

    def backfill(self, version: int, row: VersionMetrics) -> float | None:
        """The share in percent of gallery vectors that this version changed: what an index must take in anew.

        Exactly equal vectors need nothing; None for the untrained model. A picture of several galleries
        counts in each. Where the width changed, everything did.
        """
        if version == 0:
            return None
        before = self.galleries(version - 1)
        changed = sum(_changed(row.galleries[name], old) for name, old in before.items())
        return 100.0 * changed / sum(len(old) for old in before.values())

    def _bridged(
        self, version: int, old: int, queries: dict[str, Tensor], galleries: dict[str, Tensor]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Queries and galleries of two versions in one space."""
        projection = self._fitted(version, old)
        if projection.maps == "query":
            return {name: projection(rows) for name, rows in queries.items()}, galleries
        # The untrained model stands at the beginning of every index: its galleries are the stored columns.
        base = self.galleries(0) if projection.stores else {}
        columns = {name: {"base": base[name]} if base else {} for name in galleries}
        return queries, {name: projection.map(rows, columns[name]) for name, rows in galleries.items()}

    def _fitted(self, version: int, old: int) -> Projection:
        then = load_tree(self._file("anchors", old))
        sides = {}
        if self.projection.stores:
            held = load_tree(self.folder / "anchors" / "base.safetensors")
            sides["base"] = dict(zip(held["keys"], held["rows"], strict=True))
        projection = copy.deepcopy(self.projection).cpu()
        projection.learn(
            VersionPairs(
                self._anchors(old),
                {what: then[_OLD.get(what, what)] for what in self.projection.reads},
                self.parts.evaluator.embed,
                self.parts.retriever,
                sides,
            )
        )
        save_tree(self.folder / "projections" / f"{version}-to-{old}.safetensors", projection.state_dict())
        return projection.requires_grad_(False)


#: Names in files that differ from what is asked for.
_OLD = {"pictures": "old"}


def _changed(now: Tensor, before: Tensor) -> int:
    return int((now != before).any(dim=1).sum()) if now.shape == before.shape else len(before)
