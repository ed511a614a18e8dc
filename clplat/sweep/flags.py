"""From command-line options to a `Sweep`: what is said lies on top of a YAML file or of a script's sweep."""

from __future__ import annotations

import re
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import yaml

from clplat.config.recipes import recipe
from clplat.config.resolve import merge
from clplat.errors import UserError
from clplat.sweep.plan import Sweep, read_sweep

__all__ = ["from_flags", "refuse_named"]


def from_flags(options: Namespace, raw: Mapping[str, Any], start: Sweep | None = None) -> Sweep:
    """Build the sweep that `clplat sweep` runs.

    Args:
        options: parsed, see `clplat.cli`; None where nothing was said.
        raw: configuration from the options of parts.
        start: what nothing is said about; the defaults unless given.

    Raises:
        UserError: options that contradict each other, or values that cannot be.
    """
    sweep = start or Sweep()
    if options.plan is not None:
        sweep = read_sweep(options.plan, sweep)
    given: dict[str, Any] = {}
    base = dict(raw)
    strategy = base.get("strategy")
    if strategy is not None and (not isinstance(strategy, Mapping) or "name" in strategy):
        if options.strategies is not None:
            raise UserError("give --strategies to compare several, or --strategy for one, not both")
        given["methods"] = [base.pop("strategy")]
    refuse_named(base, "seed", "--seeds lists the seeds")
    if base:
        given["base"] = merge(sweep.base, base)
    for name in ("strategies", "controls", "tune", "objective", "seeds"):
        text = getattr(options, name)
        if text is not None:
            words = _words(text)
            key = {"strategies": "methods", "objective": "objectives"}.get(name, name)
            given[key] = [_whole(word) for word in words] if name == "seeds" else words
    twice = [entry for entry in given.get("methods", []) if given["methods"].count(entry) > 1]
    if twice:
        raise UserError(f"--strategies names each entry once, not '{twice[0]}' several times")
    if options.recipes is not None:
        if "methods" in given or options.strategies is not None:
            raise UserError("--recipes and --strategies both say what is compared: give one of them")
        given["methods"] = {name: recipe(name).config for name in _words(options.recipes)}
    for name in ("orders", "sampler", "pruner"):
        if getattr(options, name) is not None:
            given[name] = getattr(options, name)
    budget = {
        n: getattr(options, n) for n in ("trials", "seconds", "tflops") if getattr(options, n) is not None
    }
    if budget:
        given["budget"] = replace(sweep.budget, **budget)
    if options.space:
        given["space"] = dict(sweep.space) | dict(map(_space, options.space))
    if options.constraint:
        given["constraints"] = dict(sweep.constraints) | dict(map(_limit, options.constraint))
    if "seeds" in given and isinstance(sweep.orders, int) and "orders" not in given:
        given["orders"] = min(sweep.orders, len(given["seeds"]))
    made = read_sweep(given, sweep)
    tuning = ("tune", "space", "objective", "constraint", "sampler", "pruner")
    idle = [name for name in tuning if getattr(options, name) and not made.budget.tunes]
    if idle:
        raise UserError(
            f"--{idle[0]} is about tuning; give a budget as well: --trials, --seconds or --tflops"
        )
    return made


def refuse_named(raw: Mapping[str, Any], key: str, instead: str) -> None:
    """Refuse a part or value that the command chooses itself; options of a part without its name may stay."""
    entry = raw.get(key)
    if entry is not None and (not isinstance(entry, Mapping) or "name" in entry):
        raise UserError(f"option '--{key}' does not go with this command: {instead}")


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _whole(word: str) -> int:
    try:
        return int(word)
    except ValueError:
        raise UserError(f"--seeds takes whole numbers by comma, not '{word}'") from None


def _space(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    try:
        return key.strip(), yaml.safe_load(value) if equals else None
    except yaml.YAMLError:
        raise UserError(f"--space takes KEY=SPACE with a space in YAML, not '{text}'") from None


def _limit(text: str) -> tuple[str, float]:
    found = re.fullmatch(r"\s*([\w@]+)\s*([<>])=\s*([-+.\deE]+)\s*", text)
    if not found:
        raise UserError(f"--constraint takes a limit such as forgetting<=5, not '{text}'")
    from clplat.measures import find_measure

    name, sign, number = found.groups()
    wanted = "<" if find_measure(name).better == "lower" else ">"
    if sign != wanted:
        raise UserError(
            f"'{name}' is better {find_measure(name).better}: a constraint on it is {name}{wanted}=LIMIT"
        )
    try:
        return name, float(number)
    except ValueError:
        raise UserError(f"--constraint takes a number after {sign}=, not '{number}'") from None
