"""Which systems the ledger measures: baselines, every recipe about a stream of domains, and plain twins.

Nothing is listed by hand. A recipe belongs here when its family is one of `FAMILIES`, or when its strategy is
more than plain training; one that lands later joins by itself. `sweeps.ledger.twins` says what it is compared
with, `sweeps.ledger.rates` at which learning rate on which stream.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from clplat.config.raw import merge
from clplat.config.recipes import Recipe, recipes
from clplat.config.resolve import resolve
from sweeps.ledger.rates import Kind, kind_of, name_in
from sweeps.ledger.twins import twin

__all__ = ["BASELINES", "FAMILIES", "System", "about_streams", "extra_inputs", "systems"]

#: Families of recipes whose idea is a memory, a regulariser, a teacher, a projection, a merge, growth or a
#: route, and what papers about streams compare with.
FAMILIES = (
    "baselines", "distillation", "expansion", "gradients", "regularisation", "rehearsal", "weight_space",
)  # fmt: skip
BASELINES = ("frozen", "naive", "replay", "cumulative")
#: Slots that bring further data, and teachers that are another model or what one has left.
_SLOTS = {"reference": "reference data", "transform": "captions of the pictures"}
_TEACHERS = {"backbone": "another model as teacher", "stored": "stored outputs of a teacher"}
_TEACHERS |= {
    "kept_features": "kept features of a teacher",
    "sentences": "sentence embeddings of another model",
}


@dataclass(frozen=True)
class System:
    """One line of the ledger.

    Args:
        name: of the recipe, of the baseline's strategy, or ``naive, as RECIPE``.
        kind: ``baseline``, ``recipe`` or ``twin``.
        raw: its configuration, to lie on that of a stream.
        against: name of the system that it is compared with; empty where there is nothing plainer.
        family: of the recipe.
        extra: inputs beyond those of the other systems.
        same: further recipes that are this very configuration.
        trains: what shares its learning rate with it.
    """

    name: str
    kind: str
    raw: Mapping[str, Any]
    against: str = "naive"
    family: str = ""
    extra: tuple[str, ...] = ()
    same: tuple[str, ...] = ()
    trains: Kind = "towers"


def about_streams(one: Recipe) -> bool:
    """Whether the idea of a recipe is about a stream of domains.

    Example:
        >>> from clplat.config.recipes import recipe
        >>> [about_streams(recipe(name)) for name in ("er", "ft_clip", "maple", "slerp")]
        [True, True, False, False]
    """
    return one.family in FAMILIES or (
        one.family != "streams" and name_in(one.config, "strategy") not in ("", "naive", "frozen")
    )


@cache
def systems() -> tuple[System, ...]:
    """All of them: the baselines first, and each after what it is compared with."""
    found = {name: System(name, "baseline", {"strategy": {"name": name}}) for name in BASELINES}
    written = {_key(system.raw): name for name, system in found.items()}
    plain: dict[str, dict[str, Any]] = {}
    for one in filter(about_streams, recipes()):
        other = twin(one.config)
        kind = kind_of(other or one.config)
        raw = dict(one.config)
        name = written.setdefault(_key(raw), one.name)
        if name != one.name:
            found[name] = replace(found[name], same=(*found[name].same, one.name))
            continue
        found[name] = System(name, "recipe", raw, "", one.family, tuple(extra_inputs(raw)), (), kind)
        if other is not None:
            plain[name] = other
    return tuple(_compared(found, plain).values())


def _compared(found: Mapping[str, System], plain: Mapping[str, Mapping[str, Any]]) -> dict[str, System]:
    """The systems with the twins that some of them need, one for all of equal parts."""
    meant = {
        _meant(one.raw): name for name, one in found.items() if one.kind == "baseline" or name not in plain
    }
    written: dict[str, str] = {}
    ordered = {name: one for name, one in found.items() if one.kind == "baseline"}
    for name, one in found.items():
        if name not in plain:
            ordered.setdefault(name, one)
            continue
        key = _key(plain[name])
        if key not in written:
            written[key] = meant.setdefault(_meant(plain[name]), f"naive, as {name}")
        against = written[key]
        twin_of = System(against, "twin", plain[name], trains=one.trains)
        ordered.setdefault(against, found.get(against, twin_of))
        ordered[name] = replace(one, against=against)
    return ordered


def extra_inputs(config: Any) -> list[str]:
    """What a configuration needs beyond the triplets of the stream.

    Example:
        >>> extra_inputs({"strategy": {"name": "distill", "teacher": {"name": "backbone", "model": "x"}}})
        ['another model as teacher']
    """
    found = [said for slot, said in _SLOTS.items() if isinstance(config, Mapping) and slot in config]
    for key, value in config.items() if isinstance(config, Mapping) else ():
        if key != "backbone":  # whatever a strategy calls its teacher
            found += [_TEACHERS[name] for name in name_in(config, key).split(",") if name in _TEACHERS]
            found += extra_inputs(value)
    return list(dict.fromkeys(found))


def _key(raw: Mapping[str, Any]) -> str:
    """A configuration as it is written."""
    return repr(sorted(merge({"adapter": {"name": "full"}}, raw).items(), key=str))


def _meant(raw: Mapping[str, Any]) -> str:
    """A configuration with all that it leaves to defaults."""
    return json.dumps(resolve(raw).as_dict(), sort_keys=True, default=str)
