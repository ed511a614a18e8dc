"""One model, several composers: every set of every domain measured with each, from one pass of the towers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from clplat.data.records import RetrievalSet
from clplat.evaluation.chance import chance_levels
from clplat.evaluation.comparing import Compared, compared_by
from clplat.evaluation.embedding import Encoder
from clplat.evaluation.evaluator import Evaluator
from clplat.evaluation.lists import LISTED, Lists
from clplat.evaluation.tabulating import Table, table, tags_of

__all__ = ["Composed", "SideBySide", "side_by_side"]


@dataclass
class Composed:
    """What one composer reaches on a set: percentages by metric and domain, the same of each tag, and ties.

    A tie is a wrong answer that scores exactly as the first right one.
    """

    metrics: Table
    tags: dict[str, Table]
    ties: list[int | None]


@dataclass
class SideBySide:
    """A set of the domains: the measured composers, what chance gives, and the lists of the own composer.

    Where labels are hidden only lists are there.
    """

    composers: dict[str, Composed] = field(default_factory=dict)
    chance: Table = field(default_factory=dict)
    lists: dict[str, Lists] = field(default_factory=dict)


def side_by_side(evaluator: Evaluator, encoder: Encoder) -> dict[str, SideBySide]:
    """Measure every set that is looked at, with each composer of the evaluator.

    Args:
        evaluator: of the domains; its embedder names the composers, the model's own as ``"own"``.
        encoder: the model.

    Returns:
        Set -> what is measured of it, the evaluator's split first. Queries of a picture alone or of words
        alone have no composer: such a set has the row ``"own"`` only.
    """
    evaluator.prepare(encoder)
    compared, *_ = compared_by(encoder).values()
    main = dict(zip(evaluator.names, evaluator.sets, strict=True))
    every = {evaluator.split: main, **evaluator.further}
    return {what: _measured(evaluator, encoder, compared, held) for what, held in every.items()}


def _measured(
    evaluator: Evaluator, encoder: Encoder, compared: Compared, domains: Mapping[str, RetrievalSet]
) -> SideBySide:
    found = SideBySide()
    cells: list[dict[str, _Cell]] = []
    levels: list[dict[str, float]] = []
    for name in evaluator.names:
        held = domains.get(name)
        cells.append({})
        levels.append({})
        if held is None:
            continue
        compared.take(held.gallery.name, evaluator.embed.items(encoder, held.gallery.items))
        embedded, rows = evaluator.queries(encoder, held.queries), evaluator.rows_of(held)
        tops: dict[str, Tensor] = {}
        if held.labels == "known":
            levels[-1] = chance_levels(held, rows)
            for who, queries in embedded.items():
                measured = compared.measured(held, rows, queries, LISTED if who == "own" else 0)
                cells[-1][who] = _cell(evaluator, held, measured.values)
                tops = measured.tops if who == "own" else tops
        found.lists[name] = compared.lists(held, rows, embedded["own"], tops)
    for who in dict.fromkeys(who for cell in cells for who in cell):
        found.composers[who] = _of([cell.get(who) for cell in cells])
    found.chance = table(levels)
    return found


@dataclass
class _Cell:
    """What one composer reaches in one domain."""

    metrics: dict[str, float]
    tags: dict[str, dict[str, float]]
    ties: int


def _cell(evaluator: Evaluator, held: RetrievalSet, values: Mapping[str, Tensor]) -> _Cell:
    asked: dict[str, list[int]] = {}
    for i, query in enumerate(held.queries):
        for tag in tags_of(query):
            asked.setdefault(tag, []).append(i)
    some = {tag: torch.tensor(rows) for tag, rows in sorted(asked.items())}
    tags = {t: evaluator.means(held, {k: v[rows] for k, v in values.items()}) for t, rows in some.items()}
    return _Cell(evaluator.means(held, values), tags, int(values["ties"].sum()))


def _of(cells: list[_Cell | None]) -> Composed:
    metrics = table([cell.metrics if cell else {} for cell in cells])
    named = dict.fromkeys(tag for cell in cells if cell for tag in cell.tags)
    tags = {tag: table([_tagged(cell, tag) for cell in cells], metrics) for tag in named}
    return Composed(metrics, tags, [cell.ties if cell else None for cell in cells])


def _tagged(cell: Any, tag: str) -> dict[str, float]:
    found: dict[str, float] = cell.tags.get(tag, {}) if cell is not None else {}
    return found
