"""Which adapters and prompts are run at which size: a system of the ledger's machine for each.

Nothing is listed by hand: they are the recipes of `FAMILIES` and the parts of both kinds as they come, and
what lands later joins by itself. Each is trained plainly, whatever strategy its recipe has.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from clplat import registry
from clplat.config.raw import merge
from clplat.config.recipes import recipes
from clplat.config.resolve import resolve
from clplat.errors import UserError, unknown_name
from sweeps.by_budget.sizes import BUDGETS, Counted, Point
from sweeps.ledger.jobs import Stream
from sweeps.ledger.rates import Kind, kind_of, name_in
from sweeps.ledger.systems import System, extra_inputs
from sweeps.ledger.twins import twin

__all__ = [
    "FAMILIES", "FROZEN", "MIDDLE", "REFERENCE", "Cell", "Source", "cells_of", "label", "named", "rows_of",
    "sources",
]  # fmt: skip

FAMILIES = ("adapters", "prompts")
#: What the others are compared with, and the budget at which operations are made equal.
REFERENCE, MIDDLE = "adapter lora", BUDGETS[1]
#: The model as it came.
FROZEN = "frozen"


@dataclass(frozen=True)
class Source:
    """A recipe, or a part as it comes.

    Args:
        name: of the recipe; ``adapter NAME``, ``prompt NAME`` of a part.
        family: one of `FAMILIES`.
        raw: plain training of it.
        mergeable: whether it can be folded into the weights of the towers.
    """

    name: str
    family: str
    raw: Mapping[str, Any]
    mergeable: bool


@dataclass(frozen=True)
class Cell:
    """A source at a size.

    Args:
        source: name of it.
        budget: share of the weights that it is about to train; None for one that comes in one size.
        point: its configuration and what it trains.
        share: of all weights that it trains.
        flops: whether its passes over the data are those for equal operations.
        system: what is run, compared with the reference of the same budget.
    """

    source: Source
    budget: float | None
    point: Point
    share: float
    flops: bool
    system: System = field(compare=False)


def sources() -> list[Source]:
    """All of them, the model as it came and the reference first.

    Example:
        >>> names = [one.name for one in sources()]
        >>> names[:2], "maple" in names, "prompt deep" in names
        (['frozen', 'adapter lora'], True, True)
    """
    found = [Source(FROZEN, "", {"adapter": {"name": "none"}, "strategy": {"name": "frozen"}}, True)]
    parts = [_part(kind, name) for kind in FAMILIES for name in registry.names(kind)]
    found += sorted(parts, key=lambda one: one.name != REFERENCE)[:1]
    found += [_source(one.name, one.family, one.config) for family in FAMILIES for one in recipes(family)]
    return found + [one for one in parts if one.name != REFERENCE]


def named(names: str) -> list[Source]:
    """The sources of these names, by comma, beside the model as it came and the reference; all for ``""``.

    Raises:
        UserError: no source is called so.
    """
    every, wanted = sources(), {name.strip() for name in names.split(",") if name.strip()}
    if unknown := wanted - {one.name for one in every}:
        raise unknown_name("adapter or prompt of the sweep", min(unknown), [one.name for one in every])
    return [one for one in every if not wanted or one.name in (FROZEN, REFERENCE, *wanted)]


def cells_of(chosen: Iterable[Source], stream: Stream, kept: Path | None = None) -> list[Cell]:
    """The sources at each budget that one of their sizes is near to; what is the same is run once.

    The middle budget comes first, then what has one size, so that a run that is stopped has the most telling.

    Args:
        kept: file in which counts are kept from call to call.
    """
    counted = Counted(stream.base, kept)
    found: dict[str, Cell] = {}
    for source in chosen:
        try:
            points = counted.points(source.raw)
        except (UserError, ValueError) as error:
            print(f"{stream.name} {source.name} cannot be attached: {error}", flush=True)
            continue
        for budget, point in points.items():
            cell = Cell(
                source, budget, point, point.trained / counted.weights, False,
                _system(source, budget, point, counted.weights),
            )  # fmt: skip
            key = json.dumps(resolve(merge(stream.base, point.raw)).as_dict(), sort_keys=True, default=str)
            first = found.setdefault(key, cell)
            if first is not cell:
                same = (*first.system.same, source.name)
                found[key] = replace(first, system=replace(first.system, same=same))
    later = (MIDDLE, None, *(budget for budget in BUDGETS if budget != MIDDLE))
    order = {budget: place for place, budget in enumerate(later)}
    return sorted(found.values(), key=lambda cell: (cell.source.name != FROZEN, order[cell.budget]))


def _part(kind: str, name: str) -> Source:
    slot = kind.removesuffix("s")
    raw = {slot: {"name": name}}
    return _source(f"{slot} {name}", kind, raw if slot == "adapter" else {"adapter": {"name": "none"}} | raw)


def _source(name: str, family: str, config: Mapping[str, Any]) -> Source:
    """Plain training of a recipe, also of what its strategy brings; its own number of passes is left out."""
    raw = dict(config)
    strategy = name_in(config, "strategy")
    if strategy not in ("", "naive", "frozen"):
        raw = dict(twin(config) or raw)
    if strategy != "frozen":
        raw["strategy"] = {"name": "naive"}
    if "train" in raw:
        raw["train"] = {
            key: value for key, value in raw["train"].items() if key not in ("epochs", "batch_size")
        }
    prompted = name_in(raw, "prompt") not in ("", "none")
    adapter = name_in(raw, "adapter") or "full"
    mergeable = not prompted and (
        adapter == "none" or bool(registry.tag("adapters", adapter, "mergeable", True))
    )
    return Source(name, family, raw, mergeable)


def _system(source: Source, budget: float | None, point: Point, weights: int) -> System:
    against = "" if source.name == FROZEN else label(REFERENCE, budget or MIDDLE)
    kind = "baseline" if source.name == FROZEN else "recipe"
    return System(
        label(source.name, budget), kind, point.raw, against, source.family,
        tuple(extra_inputs(point.raw)), (), _kind(point, weights),
    )  # fmt: skip


def _kind(point: Point, weights: int) -> Kind:
    """Whose learning rate it has: what keeps the towers and trains little learns as a low rank does."""
    kind, name = kind_of(point.raw), name_in(point.raw, "adapter")
    few = point.trained < 2 * max(BUDGETS) * weights
    keeps = name not in ("", "none") and not registry.tag("adapters", name, "trains_base", False)
    return "low rank" if kind == "towers" and keeps and few else kind


def label(name: str, budget: float | None) -> str:
    """What a source at a budget is called."""
    return name if budget is None else f"{name}, {100 * budget:g} %"


def rows_of(cells: Iterable[Cell], rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Rows of the ledger that say which source at which size they are of."""
    for cell, row in zip(cells, rows, strict=True):
        yield row | {
            "source": cell.source.name, "budget": cell.budget, "option": cell.point.option,
            "value": cell.point.value, "trained": cell.point.trained, "share": round(cell.share, 5),
            "equal_flops": cell.flops, "mergeable": cell.source.mergeable,
            "epochs": cell.system.raw.get("train", {}).get("epochs"),
        }  # fmt: skip
