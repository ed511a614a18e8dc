"""From command-line options to a `Sweep`: they lie on top of a YAML file or of the sweep of a script."""

from __future__ import annotations

import re
from argparse import Namespace
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from clplat.config.raw import merge
from clplat.config.reading import yaml_of
from clplat.config.recipes import recipe
from clplat.errors import UserError
from clplat.measures import find_measure
from clplat.sweep.plan import Sweep, read_sweep

__all__ = ["from_flags", "refuse_named"]


def from_flags(options: Namespace, raw: Mapping[str, Any], start: Sweep | None = None) -> Sweep:
    """Build the sweep that `clplat sweep` runs.

    Args:
        options: parsed, see `clplat.cli`; None where an option was not given.
        raw: configuration from the options of parts.
        start: what the options lie on; the defaults unless given.

    Raises:
        UserError: options that contradict each other, or values that cannot be.
    """
    sweep = start or Sweep()
    if options.plan is not None:
        sweep = read_sweep(options.plan, sweep)
    base = dict(raw)
    given = _methods(options, base) | _values(options)
    refuse_named(base, "seed", "--seeds lists the seeds")
    if base:
        given["base"] = merge(sweep.base, base)
    limits = {name: getattr(options, name) for name in ("trials", "seconds", "tflops")}
    limits = {name: limit for name, limit in limits.items() if limit is not None}
    if limits:
        given["budget"] = replace(sweep.budget, **limits)
    if options.space:
        given["space"] = dict(sweep.space) | _once("space", map(_space, options.space))
    if options.constraint:
        given["constraints"] = dict(sweep.constraints) | _once("constraint", map(_limit, options.constraint))
    if "seeds" in given and isinstance(sweep.orders, int) and "orders" not in given:
        given["orders"] = min(sweep.orders, len(given["seeds"]))
    made = read_sweep(given, sweep)
    for name in ("tune", "space", "objective", "constraint", "sampler", "pruner"):
        if getattr(options, name) and not made.budget.tunes:
            raise UserError(
                f"--{name} is about tuning; give a budget as well: --trials, --seconds or --tflops"
            )
    return made


def _methods(options: Namespace, base: dict[str, Any]) -> dict[str, Any]:
    """What is compared, where an option says it; a single strategy is taken out of ``base``."""
    listed = None if options.strategies is None else _words(options.strategies)
    if _named(base, "strategy"):
        if listed is not None:
            raise UserError("give --strategies to compare several, or --strategy for one, not both")
        listed = [base.pop("strategy")]
    if options.recipes is not None:
        if listed is not None:
            raise UserError("--recipes and --strategies both say what is compared: give one of them")
        return {"methods": {name: recipe(name).config for name in _words(options.recipes)}}
    if listed is None:
        return {}
    twice = [entry for entry in listed if listed.count(entry) > 1]
    if twice:
        raise UserError(f"--strategies names each entry once, not '{twice[0]}' several times")
    return {"methods": listed}


def _values(options: Namespace) -> dict[str, Any]:
    """Keys of a sweep that an option sets as it is, or as a list by comma."""
    given = {name: getattr(options, name) for name in ("orders", "sampler", "pruner")}
    for name, key in {"controls": "controls", "tune": "tune", "objective": "objectives"}.items():
        text = getattr(options, name)
        given[key] = None if text is None else _words(text)
    if options.seeds is not None:
        given["seeds"] = list(map(_whole, _words(options.seeds)))
    return {key: value for key, value in given.items() if value is not None}


def refuse_named(raw: Mapping[str, Any], key: str, instead: str) -> None:
    """Refuse a part or value that the command chooses itself; options of a part without its name may stay."""
    if _named(raw, key):
        raise UserError(f"option '--{key}' does not go with this command: {instead}")


def _named(raw: Mapping[str, Any], key: str) -> bool:
    entry = raw.get(key)
    return entry is not None and (not isinstance(entry, Mapping) or "name" in entry)


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _whole(word: str) -> int:
    try:
        return int(word)
    except ValueError:
        raise UserError(f"--seeds takes whole numbers by comma, not '{word}'") from None


def _once(option: str, pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise UserError(f"--{option} is given twice for '{key}': {found[key]} and {value}")
        found[key] = value
    return found


def _space(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    try:
        return key.strip(), yaml_of(value) if equals else None
    except ValueError as error:
        raise UserError(f"--space takes KEY=SPACE with a space in YAML, not '{text}': {error}") from None


def _limit(text: str) -> tuple[str, float]:
    number = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
    found = re.fullmatch(rf"\s*([\w@]+)\s*([<>])=\s*({number})\s*", text)
    if not found:
        raise UserError(f"--constraint takes a limit such as forgetting<=5, not '{text}'")
    name, sign, limit = found.groups()
    better = find_measure(name).better
    wanted = "<" if better == "lower" else ">"
    if sign != wanted:
        raise UserError(f"'{name}' is better {better}: a constraint on it is {name}{wanted}=LIMIT")
    return name, float(limit)
