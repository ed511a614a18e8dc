"""Which systems the ledger measures: baselines, every recipe about a stream of domains, and naive twins.

Nothing is listed by hand. A recipe belongs here when its family is one of `FAMILIES`, or when its strategy is
more than plain training; one that lands later joins by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from clplat import registry
from clplat.config.raw import merge
from clplat.config.recipes import Recipe, recipes
from clplat.roles import role_of

__all__ = ["BASELINES", "FAMILIES", "System", "about_streams", "extra_inputs", "systems", "twin"]

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
        against: name of the system that it is compared with: plain training of the same parts.
        family: of the recipe.
        extra: inputs beyond those of the other systems.
    """

    name: str
    kind: str
    raw: Mapping[str, Any]
    against: str = "naive"
    family: str = ""
    extra: tuple[str, ...] = ()


def about_streams(one: Recipe) -> bool:
    """Whether the idea of a recipe is about a stream of domains.

    Example:
        >>> from clplat.config.recipes import recipe
        >>> [about_streams(recipe(name)) for name in ("er", "ft_clip", "maple", "slerp")]
        [True, True, False, False]
    """
    return one.family in FAMILIES or (
        one.family != "streams" and _name(one.config, "strategy") not in ("naive", "frozen")
    )


@cache
def systems() -> tuple[System, ...]:
    """All of them: the baselines first, then each twin before the recipes that are compared with it."""
    found = {name: System(name, "baseline", {"strategy": name}) for name in BASELINES}
    plain = {_key(found["naive"].raw): "naive"}
    for one in filter(about_streams, recipes()):
        raw = twin(one.config)
        against = "naive" if raw is None else plain.setdefault(_key(raw), f"naive, as {one.name}")
        if raw is not None and against not in found and _key(raw) != _key(one.config):
            found[against] = System(against, "twin", raw)
        found[one.name] = System(
            one.name, "recipe", one.config, against, one.family, tuple(extra_inputs(one.config))
        )
    return tuple(found.values())


def twin(config: Mapping[str, Any]) -> dict[str, Any] | None:
    """The same with plain training as its strategy; None where that would train other parts, or nothing.

    Example:
        >>> twin({"adapter": {"name": "lora"}, "strategy": {"name": "patch", "alpha": 0.5}})
        {'adapter': {'name': 'lora'}, 'strategy': {'name': 'naive'}}
    """
    for name in _name(config, "strategy").split(","):
        brings = registry.tag("strategies", name, "brings", ())
        if (
            brings
            or not registry.tag("strategies", name, "trains", True)
            or role_of({"strategy": name}) != "method"
        ):
            return None
    kept = {slot: part for slot, part in config.items() if slot != "reference"}  # which strategies alone read
    return {**kept, "strategy": {"name": "naive"}}


def extra_inputs(config: Any) -> list[str]:
    """What a configuration needs beyond the triplets of the stream.

    Example:
        >>> extra_inputs({"strategy": {"name": "distill", "teacher": {"name": "backbone", "model": "x"}}})
        ['another model as teacher']
    """
    found = [said for slot, said in _SLOTS.items() if isinstance(config, Mapping) and slot in config]
    for key, value in config.items() if isinstance(config, Mapping) else ():
        if key != "backbone":  # whatever a strategy calls its teacher
            found += [_TEACHERS[name] for name in _name(config, key).split(",") if name in _TEACHERS]
            found += extra_inputs(value)
    return list(dict.fromkeys(found))


def _name(config: Mapping[str, Any], slot: str) -> str:
    given = config.get(slot, "naive" if slot == "strategy" else "")
    return str(given.get("name", "") if isinstance(given, Mapping) else given)


def _key(raw: Mapping[str, Any]) -> str:
    return repr(sorted(merge({"adapter": {"name": "full"}}, raw).items(), key=str))
