"""Keeps what each model version embedded, and fills C: new queries against every older index."""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from torch import Tensor

from clplat.assembly import Assembly
from clplat.data.records import Picture
from clplat.evaluation.evaluator import Row
from clplat.files import load_tree, save_tree
from clplat.models.projections.base import Projection
from clplat.models.projections.identity import Identity

__all__ = ["Versions"]


class Versions:
    """Embeddings of the galleries by every version, and the projections between neighbouring versions.

    A projection into version j is fitted when version j + 1 exists, on training pictures of the domain that
    made it, embedded by both (at that time both models are at hand and the pictures are allowed). Queries of
    version i reach an older index j through the projections i -> i-1 -> ... -> j.

    Args:
        folder: of the experiment; files are written once a version and never rewritten.
        parts: the experiment's parts.
        anchors: training pictures, at most, for one fit.
    """

    def __init__(self, folder: Path, parts: Assembly, anchors: int) -> None:
        self.folder, self.parts, self.limit = folder, parts, anchors

    def _file(self, kind: str, version: int) -> Path:
        return self.folder / kind / f"{version}.safetensors"

    @property
    def _projects(self) -> bool:
        return not isinstance(self.parts.retriever.projection, Identity)

    def _anchors(self, experience: int) -> list[Picture]:
        pictures = self.parts.domains[experience].anchors
        step = max(1, len(pictures) // self.limit)
        return pictures[::step][: self.limit]

    def remember_anchors(self, experience: int) -> None:
        """Before an experience: embed its anchors by the version that is about to become old."""
        if self._projects:
            retriever = self.parts.retriever.eval()
            embedded = self.parts.evaluator.images(retriever, self._anchors(experience))
            save_tree(self._file("anchors", experience), {"old": embedded})

    def cells(self, version: int, row: Row) -> dict[str, list[float]]:
        """Row ``version`` of C for each metric: this version's queries in every index up to its own."""
        save_tree(self._file("galleries", version), row.galleries)
        if self._projects and version > 0:
            self._fit(version)
        out: dict[str, list[float]] = {}
        queries = row.queries
        found: list[dict[str, float]] = []
        for old in range(version, -1, -1):
            galleries = row.galleries if old == version else load_tree(self._file("galleries", old))
            found.append(self.parts.evaluator.against(queries, galleries))
            if self._projects and old > 0:
                queries = {name: self._project(old, embedded) for name, embedded in queries.items()}
        for cell in reversed(found):
            for metric, value in cell.items():
                out.setdefault(metric, []).append(value)
        return out

    def _fit(self, version: int) -> None:
        old = load_tree(self._file("anchors", version - 1))["old"]
        new = self.parts.evaluator.images(self.parts.retriever, self._anchors(version - 1))
        projection = self._fresh()
        projection.fit(new, old)
        save_tree(self._file("projections", version), projection.state_dict())

    @torch.inference_mode()
    def _project(self, version: int, embedded: Tensor) -> Tensor:
        """Embeddings of ``version`` in the space of the version before."""
        projection = self._fresh()
        projection.load_state_dict(load_tree(self._file("projections", version)))
        mapped: Tensor = projection(embedded)
        return mapped

    def _fresh(self) -> Projection:
        return copy.deepcopy(self.parts.retriever.projection).cpu()
