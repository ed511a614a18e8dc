"""Which composers are streamed, with which strategies and towers: a system of the ledger's machine for each.

Nothing is listed by hand: the composers are the recipes of `FAMILIES` that name one, and what lands later
joins by itself. Beside them stand the picture alone and the text alone, trained in the same way.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, Literal

from clplat.config.raw import merge
from clplat.config.recipes import recipes
from clplat.config.resolve import resolve
from clplat.models.view import Towers
from clplat.randomness import seeded
from sweeps.ledger.jobs import Stream
from sweeps.ledger.rates import kind_of, name_in
from sweeps.ledger.systems import System, extra_inputs

__all__ = ["BLIND", "FAMILIES", "STRATEGIES", "TOWERS", "Cell", "cells", "named", "streamed"]

FAMILIES = ("composers", "late_interaction")
#: What knows one half of a query.
BLIND = ("text_only", "image_only")
STRATEGIES = ("naive", "replay", "distill", "backward_compatible")
TowersAre = Literal["frozen", "trained"]
TOWERS: tuple[TowersAre, ...] = ("frozen", "trained")
#: Share of a shop's combinations that training never shows; the catalogue has a share of its own.
HELD_OUT = 0.15
#: Learning rate of composers by stream, from validation queries; of products from the ledger's study of a
#: combiner (docs/decisions/2026-11-30-composers-in-a-stream.md).
RATES = {"catalogue": 3e-3, "products": 3e-4}
#: Weights of the shipped towers; a composer with more has the small sizes of its recipe.
LARGEST = 3_300_000


@dataclass(frozen=True)
class Cell:
    """A composer with one strategy, towers frozen or trained.

    Args:
        composer: name of its recipe, or one of `BLIND`.
        strategy: one of `STRATEGIES`; ``frozen`` where nothing of it is trained.
        system: what is run, compared with the text alone in the same cell.
    """

    composer: str
    towers: TowersAre
    strategy: str
    system: System = field(compare=False)


@cache
def cells() -> tuple[Cell, ...]:
    """All of them, the blind ones first; what is the same configuration as an earlier one is left out.

    Example:
        >>> [cell.strategy for cell in cells() if (cell.composer, cell.towers) == ("slerp", "frozen")]
        ['frozen']
    """
    found: dict[str, Cell] = {}
    for cell in _every():
        key = repr((sorted(cell.system.raw.items(), key=str), cell.towers))
        first = found.setdefault(key, cell)
        if first is not cell:
            same = (*first.system.same, cell.composer)
            found[key] = replace(first, system=replace(first.system, same=same))
    return tuple(found.values())


def named(composers: str) -> list[Cell]:
    """The cells of these composers, by comma, and of the blind ones; all for ``""``.

    Raises:
        UserError: no composer is called so.
    """
    from clplat.errors import unknown_name

    wanted = {name.strip() for name in composers.split(",") if name.strip()}
    known = {name: cell for cell in cells() for name in (cell.composer, *cell.system.same)}
    if unknown := wanted - known.keys():
        raise unknown_name("composer of the sweep", min(unknown), known)
    wanted = {known[name].composer for name in wanted}
    return [cell for cell in cells() if not wanted or cell.composer in (*BLIND, *wanted)]


def streamed(stream: Stream) -> Stream:
    """A stream of the ledger as composers see it: combinations are held out, composers have their rate.

    Example:
        >>> from sweeps.ledger.streams import STREAMS
        >>> streamed(STREAMS[1]).base["scenario"]["unseen"]
        0.15
    """
    rate = RATES[stream.name]
    held = {"scenario": {"unseen": HELD_OUT}} if stream.base["scenario"]["name"] == "attributes" else {}
    base = merge(stream.base, {"train": {"head_lr": rate}, **held})
    return replace(stream, base=base, rates={**stream.rates, "layers": rate})


def _every() -> Iterator[Cell]:
    for name in BLIND:
        yield from _cells_of(name, "", {"composer": {"name": name}})
    for one in (one for family in FAMILIES for one in recipes(family) if "composer" in one.config):
        yield from _cells_of(one.name, one.family, one.config, one.small)


def _cells_of(
    name: str, family: str, config: Mapping[str, Any], small: Mapping[str, Any] | None = None
) -> Iterator[Cell]:
    """Frozen towers leave nothing to train of a composer without weights: its zero-shot row alone."""
    layers = _weights(config)
    if layers > LARGEST:
        config = merge(config, small or {})
    for towers in TOWERS:
        for strategy in STRATEGIES if towers == "trained" or layers else ("frozen",):
            raw = _raw(config, towers, strategy)
            alone = _label(BLIND[0], towers, strategy if towers == "trained" else "frozen")
            against = "" if name in BLIND else alone
            system = System(
                _label(name, towers, strategy), "recipe" if family else "baseline", raw, against, family,
                tuple(extra_inputs(raw)), (), kind_of(raw),
            )  # fmt: skip
            yield Cell(name, towers, strategy, system)


def _label(composer: str, towers: str, strategy: str) -> str:
    return f"{composer}, {towers}, {strategy}"


def _raw(config: Mapping[str, Any], towers: TowersAre, strategy: str) -> dict[str, Any]:
    """A recipe with the strategy.

    Trained towers are trained as the recipe does, or as the stream does where the recipe freezes them.
    """
    kept = {slot: part for slot, part in config.items() if slot != "strategy"}
    if strategy == "frozen":  # what is about training makes no difference
        kept = {slot: part for slot, part in kept.items() if slot not in ("loss", "train", "transform")}
    if towers == "frozen":
        return {**kept, "adapter": {"name": "none"}, "strategy": {"name": strategy}}
    if name_in(kept, "adapter") in ("none", "full") and "last" not in kept["adapter"]:
        del kept["adapter"]
    return {**kept, "strategy": _joined(config, strategy)}


def _joined(config: Mapping[str, Any], strategy: str) -> dict[str, Any]:
    """A strategy of the recipe's own, about how an experience is trained, together with ours."""
    own = name_in(config, "strategy")
    if own in ("", "naive", "frozen", strategy):
        return {"name": strategy}
    options = {key: value for key, value in config["strategy"].items() if key != "name"}
    return {"name": f"{own},{strategy}", own: options} if strategy != "naive" else dict(config["strategy"])


def _weights(config: Mapping[str, Any]) -> int:
    """How many weights of its own a composer or scorer has above the shipped towers."""
    resolved = resolve({slot: config[slot] for slot in ("composer", "scorer") if slot in config})
    towers, found = _towers(), 0
    with seeded(0, "sweeps", "weights"):
        for slot in ("composer", "scorer"):
            part = resolved.make(slot)
            part.attach(towers)
            found += sum(one.numel() for one in part.parameters())
    return found


@cache
def _towers() -> Towers:
    return Towers(resolve({}).make("backbone"))
