"""Keeps what each model version embedded, and fills C: new queries against every older index."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TypeAlias

from torch import Tensor
from typing_extensions import TypedDict

from clplat.documents.checked import checked
from clplat.documents.tensors import read_tensors
from clplat.errors import unknown_name
from clplat.evaluation.comparing import Compared, compared_by
from clplat.evaluation.evaluator import VersionMetrics
from clplat.models.frozen import weights_fixed
from clplat.parts.projections._base import Projection
from clplat.runs.assembly import Assembly
from clplat.runs.pairs import Anchors, VersionPairs
from clplat.runs.processing import Processing
from clplat.trees import load_tree, save_tree

#: A row of C for each metric.
Cells: TypeAlias = dict[str, list[float | None]]


class _Base(TypedDict):
    """Anchors by the untrained model."""

    __pydantic_config__ = {"arbitrary_types_allowed": True}  # type: ignore[misc]  # noqa: RUF012

    keys: list[str]
    rows: Tensor


class IndexVersions:
    """What is stored of the galleries by every version, and projections into each older version's space.

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

    def _file(self, kind: str, version: int, view: str = "") -> Path:
        return self.folder / kind / view / f"{version}.safetensors"

    def _anchors(self, version: int) -> Anchors:
        """Training data seen when ``version`` became old."""
        return Anchors.of(self.parts.domains[: version + 1], self.limit)

    def remember_anchors(self, version: int) -> None:
        """Before the next experience: embed the anchors by the version that is about to become old."""
        if not self.projection.fitted:
            return
        with weights_fixed(), self.parts.retriever.as_version(version):
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

    def cells(
        self, version: int, row: VersionMetrics, processing: Processing | None = None
    ) -> dict[str, Cells]:
        """Row ``version`` of C by view and metric: this version's queries in every index up to its own.

        The main view is called ``""``. A cell is None where the two spaces have unequal widths and no
        projection lies between. ``processing`` measures the main view after a post-processor as well.
        """
        seen = {"": row, **row.views}
        for view, one in seen.items():
            save_tree(self._file("galleries", version, view), one.galleries)
        out: dict[str, Cells] = {view: {} for view in seen}
        for old in range(version + 1):
            bridge = self._fitted(version, old) if self.projection.fitted and old < version else None
            for view, compared in self._compared(old).items():
                queries = row.queries
                stored = seen[view].galleries if old == version else self.galleries(old, view)
                held = compared.holding(stored)
                if bridge is not None and bridge.maps == "query":
                    queries = {name: bridge(rows) for name, rows in queries.items()}
                elif bridge is not None:
                    queries = {name: self._compared(version)[view].queries(q) for name, q in queries.items()}
                    held = self._mapped(bridge, held, view)
                for metric, value in self.parts.evaluator.cross_version(queries, held.stored, held).items():
                    out[view].setdefault(metric, []).append(value)
                if processing is not None and not view:
                    processing.measure(old, queries, held, bridge)
        return out

    def _compared(self, version: int) -> dict[str, Compared]:
        """View -> how a version stores and compares embeddings; the main view is called ``""``."""
        with self.parts.retriever.as_version(version):
            (_, main), *others = compared_by(self.parts.retriever).items()
        return {"": main, **dict(others)}

    def galleries(self, version: int, view: str = "") -> dict[str, Tensor]:
        """What a version stored of the galleries."""
        return read_tensors(self._file("galleries", version, view), "stored gallery")

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

    def _mapped(self, projection: Projection, held: Compared, view: str) -> Compared:
        """Galleries of an older version, as they were stored, in the space of this one's queries."""
        # The untrained model stands at the beginning of every index: its galleries are the stored columns.
        first = self._compared(0)[view].holding(self.galleries(0, view)) if projection.stores else None
        mapped = {}
        for name in held.stored:
            columns = {"base": first.rows(name)} if first is not None else {}
            mapped[name] = projection.map(held.rows(name), columns)
        return Compared(scorer=held.scorer).holding(mapped)

    def _fitted(self, version: int, old: int) -> Projection:
        reads = {what: _OLD.get(what, what) for what in self.projection.reads}
        then = read_tensors(self._file("anchors", old), "file of anchors", list(reads.values()))
        sides = {}
        if self.projection.stores:
            path = self.folder / "anchors" / "base.safetensors"
            held: _Base = checked(load_tree(path), _Base, path, "file of anchors")
            sides["base"] = dict(zip(held["keys"], held["rows"], strict=True))
        projection = copy.deepcopy(self.projection).cpu()
        projection.learn(
            VersionPairs(
                self._anchors(old),
                {what: then[name] for what, name in reads.items()},
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
    alike = now.shape == before.shape and now.dtype == before.dtype
    return int((now != before).any(dim=1).sum()) if alike else len(before)
