"""The shape of the embedding space: gap, alignment, uniformity, hubs, and how far it moved."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from clplat.data.records import RetrievalSet
from clplat.parts.probes._base import Group, ModelView, Probe
from clplat.parts.probes._formulas import alignment, drift, hubness, modality_gap, uniformity

__all__ = ["Geometry"]


class Geometry(Probe):
    """Six numbers of the queries and galleries that are evaluated, each a mean over domains or galleries.

    ``gap``: between the gallery's pictures and the queries' words. ``alignment``: of queries with their
    targets. ``uniformity``: of the gallery. ``hubness``: skewness of how often a gallery picture is among the
    ``k`` best. ``drift`` and ``step drift``: 1 - cosine of gallery pictures by this version and by the
    untrained one, or the one before; 0 for the untrained model.

    Args:
        k: how many answers a query has when hubs are counted.
        most: gallery pictures, at most, whose distances are taken: they grow with the square.

    Raises:
        ValueError: k below 1, or fewer than 2 pictures.

    References:
        The formulas and their papers are those of ``clplat/parts/probes/_formulas.py``.
    """

    name = "geometry"
    group: Group = "geometry"
    headline = "hubness"
    higher = False
    unit = "number"

    def __init__(self, k: int = 10, most: int = 2000) -> None:
        if k < 1 or most < 2:
            raise ValueError(f"k must be at least 1 and most at least 2, not {k} and {most}")
        self.k, self.most = k, most

    def measure(self, view: ModelView) -> dict[str, float]:
        """The numbers; those of embeddings that cannot be compared are missing."""
        found: dict[str, list[float]] = {}
        for name, held in view.sets.items():
            gallery = view.galleries[held.gallery.name]
            said = sorted({text for query in held.queries for text in query.said})
            queries, targets = _pairs(held, view.asked[name], gallery)
            if said:
                found.setdefault("gap", []).append(modality_gap(gallery, view.texts(said)))
            found.setdefault("alignment", []).append(alignment(queries, targets))
            found.setdefault("uniformity", []).append(uniformity(_some(gallery, self.most)))
            found.setdefault("hubness", []).append(hubness(view.nearest(name, self.k), len(gallery)))
        for what, old in (("drift", 0), ("step drift", max(0, view.version - 1))):
            found[what] = _moved(view.galleries, view.older(old).galleries)
        return {name: sum(values) / len(values) for name, values in found.items() if values}


def _pairs(held: RetrievalSet, queries: Tensor, gallery: Tensor) -> tuple[Tensor, Tensor]:
    row = {item.key: i for i, item in enumerate(held.gallery.items)}
    pairs = [(i, row[key]) for i, query in enumerate(held.queries) for key in query.targets if key in row]
    asked, answered = torch.tensor(pairs).T
    return queries[asked], gallery[answered]


def _some(rows: Tensor, most: int) -> Tensor:
    """At most so many rows, evenly spread."""
    return rows[:: -(-len(rows) // most)]


def _moved(now: Mapping[str, Tensor], before: Mapping[str, Tensor]) -> list[float]:
    moved = [drift(rows, before[name]) for name, rows in now.items()]
    return [value for value in moved if value is not None]
