"""The slots of an experiment: which parts there are, what fills a slot by default, and its options."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from clplat import registry
from clplat.config.groups import GROUPS
from clplat.config.options import Argument, arguments
from clplat.errors import UserError, nearest
from clplat.kinds import KINDS

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


def constructor_of(slot: str, name: str = "") -> Callable[..., Any] | None:
    """What makes the part ``name`` of a slot, or a group's dataclass; None for an empty slot."""
    if slot in GROUPS:
        return GROUPS[slot]
    kind = KINDS[slot]
    if kind.optional and name == "none":
        return None
    found: Callable[..., Any] = registry.load(kind.plural, name) if kind.plural else registry.maker(kind)
    return found


def chosen_parts(raw: Mapping[str, Any]) -> dict[str, str]:
    """Slot -> name of the part that a raw configuration puts there."""
    chosen = {slot: str(raw.get(slot, {}).get("name", entry.default)) for slot, entry in KINDS.items()}
    strategy = registry.load("strategies", chosen["strategy"])
    for slot in getattr(strategy, "brings", ()):
        if "name" not in raw.get(slot, {}):
            chosen[slot] = "none"
    if getattr(strategy, "replaces_task_loss", False) and "name" not in raw.get("loss", {}):
        chosen["loss"] = "none"
    return chosen


def options_of(slot: str, name: str = "") -> dict[str, Argument]:
    """The options ``<slot>.<argument>`` of one part or group."""
    constructor = constructor_of(slot, name)
    found = arguments(constructor) if constructor is not None else ()
    return {f"{slot}.{a.name}": a for a in found if (slot, a.name) != ("backbone", "name")}


def options_of_all(chosen: Mapping[str, str]) -> dict[str, Argument]:
    """All options that exist with these parts, beside the parts' names."""
    found: dict[str, Argument] = {}
    for slot, name in [*chosen.items(), *((group, "") for group in GROUPS)]:
        found |= options_of(slot, name)
    return found | PLAIN


def unknown_option(key: str, chosen: Mapping[str, str]) -> UserError:
    """The error for an option that does not exist; it offers the nearest in its slot, or in all slots."""
    slot, _, name = key.partition(".")
    if slot in (*KINDS, *GROUPS):
        siblings = [option.name for option in options_of(slot, chosen.get(slot, "")).values()]
        near = nearest(name, siblings).replace("'", f"'{slot}.", 1)
        of = f" of {slot} '{chosen[slot]}'" if slot in KINDS else ""
        return UserError(f"unknown option '{key}'{of}{near} (allowed: {', '.join(siblings) or 'none'})")
    top, options = [*KINDS, *GROUPS, *PLAIN], options_of_all(chosen)
    same = [option for option in options if option.partition(".")[2] == (name or slot)]
    near = f"; did you mean '{same[0]}'?" if same else nearest(key, [*top, *options])
    return UserError(f"unknown option '{key}'{near} (allowed: {', '.join(top)}, and their options)")
