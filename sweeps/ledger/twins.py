"""Plain training of the same parts: what each system of the ledger is compared with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clplat import registry
from clplat.config.resolve import resolve
from clplat.config.slots import options_of
from sweeps.ledger.rates import kind_of, name_in

__all__ = ["twin"]

_NAIVE = {"name": "naive"}
#: Plain training behind frozen towers, as the recipe ``linear_probe``.
_PROBE = {"adapter": {"name": "full", "last": 0}, "strategy": _NAIVE}


def twin(config: Mapping[str, Any]) -> dict[str, Any] | None:
    """What shows that the idea of a system is worth something; None where there is nothing plainer.

    Of a strategy: the same parts under ``naive``, also those that it brings. Of plain training of a part: the
    part without its idea (its ``plain`` options), else whole towers or, behind frozen ones, a linear probe.
    Of what trains nothing: the model as it came.

    Example:
        >>> twin({"adapter": {"name": "lora"}, "strategy": {"name": "patch", "alpha": 0.5}})
        {'adapter': {'name': 'lora'}, 'strategy': {'name': 'naive'}}
        >>> twin({"strategy": {"name": "growing_prompt", "prompt": "context"}})["prompt"]["name"]
        'context'
        >>> twin({"adapter": {"name": "moe", "rank": 64}, "strategy": {"name": "naive"}})["adapter"]
        {'name': 'moe', 'rank': 64, 'experts': 1, 'k': 1, 'balance': 0.0}
        >>> twin({"adapter": {"name": "none"}, "strategy": {"name": "frozen"}})
        {'strategy': {'name': 'frozen'}}
    """
    names = (name_in(config, "strategy") or "naive").split(",")
    if not all(registry.tag("strategies", name, "trains", True) for name in names):
        return {"strategy": {"name": "frozen"}}
    kept = {slot: part for slot, part in config.items() if slot != "reference"}  # which strategies alone read
    if names == ["naive"]:
        return _plainer(kept)
    bringers = [name for name in names if registry.tag("strategies", name, "brings", ())]
    found = _brought(config, bringers[0], alone=len(names) == 1) if bringers else {}
    if found and name_in(found, "adapter") == "full":  # a rate of its own is that of what stands for weights
        kept = {slot: part for slot, part in kept.items() if slot != "train"}
    return None if found is None else {**kept, **found, "strategy": _NAIVE}


def _brought(config: Mapping[str, Any], name: str, alone: bool) -> dict[str, Any] | None:
    """Slot -> part that amounts to what a strategy brings."""
    options = resolve({"strategy": config["strategy"]}).as_dict()["strategy"]
    options = options if alone else options[name]
    for slot in registry.tag("strategies", name, "brings", ()):
        if isinstance(options.get(slot), Mapping):
            return {slot: options[slot]}
    plain = registry.tag("strategies", name, "plain", "")
    if not plain:
        return None
    own = options.get(plain, options)  # a group of options that is called as the adapter
    known = [option.partition(".")[2] for option in options_of("adapter", plain)]
    given = {option: own[option] for option in known if option in own}
    if "lora_alpha" in known and "alpha" in own:  # as PEFT calls it, which takes whole numbers
        given["lora_alpha"] = round(own["alpha"])
    return {"adapter": {"name": plain, **given}}


def _plainer(config: Mapping[str, Any]) -> dict[str, Any] | None:
    """Plain training of parts whose idea is in themselves, without it."""
    for slot, kind in (("adapter", "adapters"), ("prompt", "prompts")):
        plain = registry.tag(kind, name_in(config, slot), "plain", {})
        if plain:
            own = resolve({"adapter": "none", slot: config[slot]}).as_dict()[slot]
            given = {key: own[value] if isinstance(value, str) else value for key, value in plain.items()}
            return {**config, slot: {**config[slot], **given}}
    kind = kind_of(config)
    if kind == "layers" and config["adapter"] != _PROBE["adapter"]:
        return _PROBE
    plain = kind != "towers" or name_in(config, "adapter") in ("", "full")
    if plain:
        return None
    kept = {slot: part for slot, part in config.items() if slot != "train"}  # a rate of its own is its part's
    return {**kept, "adapter": {"name": "full"}}
