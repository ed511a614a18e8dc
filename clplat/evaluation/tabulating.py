"""A row of R as it fills, domain by domain: tables of metrics, baselines and tags, and what is ranked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import Tensor

from clplat.data.records import Query, RetrievalSet
from clplat.evaluation.asked import Asked
from clplat.evaluation.comparing import Compared
from clplat.evaluation.lists import LISTED, Lists

__all__ = ["SetMetrics", "Table", "Tables", "VersionMetrics", "table", "tags_of"]

#: A cell of a table of metrics: one domain's value, None where its protocol does not measure the metric.
Table = dict[str, list[float | None]]


#: Values of the queries of a set by metric -> their means, in percent.
Means: TypeAlias = Callable[[RetrievalSet, Mapping[str, Tensor]], dict[str, float]]


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
    ``galleries`` hold what is stored of them, ``queries`` the rows of the head; ``views`` the same of the
    head's further views, as far as it differs.
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
    views: dict[str, VersionMetrics] = field(default_factory=dict)
    bytes_per_item: float = 0.0


class Tables:
    """Fills the row of one view.

    Args:
        compared: the view.
        tags: of all queries, sorted.
        means: values of queries -> a cell, in percent.
    """

    def __init__(self, compared: Compared, tags: Sequence[str], means: Means) -> None:
        self.compared, self.tags, self.means, self.row = compared, tags, means, VersionMetrics()
        self.cells: list[dict[str, float]] = []
        self._blind: list[dict[str, dict[str, float]]] = []
        self._tagged: list[dict[str, dict[str, float]]] = []

    def add(
        self,
        split: str,
        name: str,
        held: RetrievalSet,
        asked: Asked,
        embedded: Mapping[str, Tensor],
        listed: bool = True,
    ) -> None:
        """Measure a domain's queries, embedded by each composer; ``listed`` keeps their best rows."""
        row, means = self.row, self.means
        count = LISTED if listed else 0
        found = {
            who: self.compared.measured(held, asked, rows, count if who == "own" else 0)
            for who, rows in embedded.items()
        }
        own, tops = found["own"].values, found.pop("own").tops
        row.ranks[name], ties = own.pop("rank"), own.pop("ties")
        row.values[name] = own[held.protocol.primary].float()
        row.ties.append(int(ties.sum()))
        if listed:
            row.lists.setdefault(split, {})[name] = self.compared.lists(held, asked, embedded["own"], tops)
        self.cells.append(means(held, own))
        self._blind.append({who: means(held, one.values) for who, one in found.items()})
        masks = {tag: [tag in tags_of(query) for query in held.queries] for tag in self.tags}
        some = {tag: torch.tensor(mask) for tag, mask in masks.items() if any(mask)}
        self._tagged.append(
            {tag: means(held, {k: v[mask] for k, v in own.items()}) for tag, mask in some.items()}
        )

    def finished(self) -> VersionMetrics:
        """The row, after all domains."""
        row = self.row
        row.metrics, row.galleries = table(self.cells), self.compared.stored
        named = dict.fromkeys(who for cell in self._blind for who in cell)
        for who in named:
            row.baselines[who] = table([cell.get(who, {}) for cell in self._blind], row.metrics)
        for tag in self.tags:
            row.tags[tag] = table([cell.get(tag, {}) for cell in self._tagged], row.metrics)
        row.bytes_per_item = self.compared.bytes_per_item
        return row


def table(cells: Sequence[Mapping[str, float]], named: Mapping[str, Any] | None = None) -> Table:
    """Metric -> one value per domain, None where a domain has no such metric."""
    names = dict.fromkeys(named if named is not None else (name for cell in cells for name in cell))
    return {name: [cell.get(name) for cell in cells] for name in names}


def tags_of(query: Query) -> set[str]:
    return {f"{key}={value}" for key, value in query.tags.items()}
