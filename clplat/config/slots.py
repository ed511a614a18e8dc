"""The slots of an experiment: which parts there are, what fills a slot by default, and its options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from clplat import registry
from clplat.config.annotations import Slot
from clplat.config.groups import GROUPS
from clplat.config.nested import fields, fields_of, walk
from clplat.config.options import Argument, arguments
from clplat.config.source import options_in_source
from clplat.errors import UserError, nearest
from clplat.kinds import KINDS, Kind

#: Options of no part.
PLAIN = {
    "seed": Argument("seed", int, 0, "of everything random in the experiment", False),
    "device": Argument("device", str, "cpu", "where the model lives: cpu, cuda, cuda:1, ...", False),
    "features": Argument(
        "features",
        Literal["fp32", "fp16", "off"],
        "fp32",
        "how what is frozen is kept on disk, to be computed once; off computes everything anew",
        False,
    ),
}


def chosen_parts(raw: Mapping[str, Any]) -> dict[str, str]:
    """Slot -> name of the part that a raw configuration puts there."""
    chosen = {slot: raw.get(slot, {}).get("name", kind.default) for slot, kind in KINDS.items()}
    for name in Slot.of(KINDS["strategy"]).names(str(chosen["strategy"])):
        strategy = registry.load("strategies", name)
        replaced = ("loss",) if getattr(strategy, "replaces_task_loss", False) else ()
        for slot in (*getattr(strategy, "brings", ()), *replaced):
            if "name" not in raw.get(slot, {}):
                chosen[slot] = "none"
    return chosen


def options_of(slot: str, name: str = "") -> dict[str, Argument]:
    """The options ``<slot>.<argument>`` of one part or group, with its defaults inside."""
    own = fields_of(arguments(GROUPS[slot])) if slot in GROUPS else fields(Slot.of(KINDS[slot]), name)
    return {path: argument for path, argument, _ in walk(own, {}, f"{slot}.")}


def _filled_slots() -> dict[str, Kind]:
    return {slot: kind for slot, kind in KINDS.items() if kind.default != "none"}


def unknown_option(key: str) -> UserError:
    """The error for an option of no slot; it offers the nearest one of the usual parts."""
    top, (slot, _, name) = [*KINDS, *GROUPS, *PLAIN], key.partition(".")
    usual = {slot: options_in_source(kind, kind.default) or () for slot, kind in _filled_slots().items()}
    options = [f"{slot}.{option}" for slot, own in usual.items() for option in own]
    options += [option for group in GROUPS for option in options_of(group)]
    same = [option for option in options if option.partition(".")[2] == (name or slot)]
    near = f"; did you mean '{same[0]}'?" if same else nearest(key, [*top, *options])
    return UserError(f"unknown option '{key}'{near} (allowed: {', '.join(top)}, and their options)")
