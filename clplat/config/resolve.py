"""Configuration: parts by name, their constructors' arguments by dotted path, YAML below the command line.

A *raw* configuration is what a person wrote (see `clplat.config.parse`). A *resolved* one is a plain
nested dict with every default filled in and every value checked::

    {"scenario": {"name": "catalogue", "domains": 5, ...}, "strategy": {"name": "replay", "size": 200, ...},
     "train": {"epochs": 4, ...}, ..., "seed": 0, "device": "cpu"}
"""

from __future__ import annotations

import inspect
import json
import shlex
from collections.abc import Mapping
from typing import Annotated, Any, get_args, get_origin

import yaml

from clplat import registry
from clplat.config.options import coerce, describe_type
from clplat.config.parse import merge, parse_arguments, read_config, unflatten
from clplat.config.slots import (
    GROUPS,
    DataConfig,
    EvaluationConfig,
    chosen_parts,
    constructor_of,
    options_of,
    options_of_all,
    unknown_option,
)
from clplat.config.space import Choice, Float, Int, Space
from clplat.errors import UserError, nearest
from clplat.kinds import KINDS

__all__ = [
    "DataConfig",
    "EvaluationConfig",
    "build",
    "command_of",
    "help_on",
    "merge",
    "parse_arguments",
    "read_config",
    "resolve",
    "spaces",
]


def resolve(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Fill in every default and check every name, type and value, and that the parts go together.

    Args:
        raw: slots by name or mapping, dotted keys allowed: ``{"strategy": "replay", "strategy.size": 50}``.

    Raises:
        UserError: an unknown slot, part or option (nearest ones offered), a value of the wrong type or out
            of range, parts that cannot be combined.
    """
    given = _flat(unflatten(raw))
    chosen = chosen_parts({key.partition(".")[0]: {"name": v} for key, v in given.items() if _names(key)})
    options = options_of_all(chosen)
    values = {key: option.default for key, option in options.items()}
    for key, value in given.items():
        if _names(key):
            continue
        if key not in options:
            raise unknown_option(key, chosen)
        try:
            values[key] = coerce(options[key].type, value)
        except ValueError as error:
            raise UserError(f"option '{key}' {error}") from None
    resolved: dict[str, Any] = {slot: {"name": name} for slot, name in chosen.items()}
    resolved |= {group: {} for group in GROUPS}
    for key, value in values.items():
        slot, _, name = key.partition(".")
        if options[key].required and value is None:
            raise UserError(f"{slot} '{chosen[slot]}' needs --{key}: {options[key].help or 'no default'}")
        if name:
            resolved[slot][name] = value
        else:
            resolved[slot] = value
    _check_parts(resolved)
    return resolved


def _names(key: str) -> bool:
    """Whether this key holds the name of a part."""
    slot, _, name = key.partition(".")
    return slot in KINDS and name == "name"


def _flat(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Values by dotted key, ``<slot>.name`` for the parts' names."""
    flat: dict[str, Any] = {}
    for slot, entry in raw.items():
        if slot in GROUPS and not isinstance(entry, Mapping):
            example = next(iter(options_of(slot)))
            raise UserError(f"option '{slot}' takes options of its own, such as --{example}")
        if slot in (*KINDS, *GROUPS):
            flat |= {f"{slot}.{name}": value for name, value in entry.items()}
        else:
            flat[slot] = entry
    for key, value in flat.items():
        if _names(key) and not isinstance(value, str):
            raise UserError(f"option '{key.partition('.')[0]}' takes the name of a part, not {value!r}")
    return flat


def _check_parts(config: Mapping[str, Any]) -> None:
    """Build every part that is cheap to build, so that a wrong value is told before anything runs."""
    parts = {slot: build(config, slot) for slot in (*KINDS, *GROUPS) if slot != "backbone"}
    strategy = config["strategy"]["name"]
    for slot, kind in KINDS.items():
        if kind.optional and parts["strategy"].brings and parts[slot] is not None:
            raise UserError(
                f"strategy '{strategy}' trains adapters of its own, which cannot be combined with {slot} "
                f"'{config[slot]['name']}'; use --{slot} none"
            )
    wanted = dict.fromkeys(("scale", "positive", "valid", "weights"))
    try:
        inspect.signature(parts["loss"]).bind(None, None, **wanted)
    except TypeError:
        raise UserError(
            f"loss '{config['loss']['name']}' cannot be what a model is trained on: it does not take queries "
            f"and candidates with {', '.join(wanted)}; use another loss, such as info_nce"
        ) from None


def build(config: Mapping[str, Any], slot: str) -> Any:
    """Make the part of a slot from a resolved configuration; ``None`` for an empty optional slot.

    A part whose argument ``seed`` is None is given the experiment's.

    Raises:
        UserError: the constructor refuses a value.
    """
    entry = dict(config[slot])
    name = entry.pop("name", "")
    constructor = constructor_of(slot, name)
    if constructor is None:
        return None
    if "seed" in entry and entry["seed"] is None:
        entry["seed"] = config["seed"]
    try:
        return constructor(name, **entry) if slot == "backbone" else constructor(**entry)
    except (ValueError, TypeError) as error:
        raise UserError(f"{slot} '{name}': {error}" if name else f"{slot}: {error}") from error


def command_of(config: Mapping[str, Any]) -> str:
    """The shortest `clplat run` command that gives this configuration."""
    chosen = {slot: config[slot]["name"] for slot in KINDS}
    usual = chosen_parts({"strategy": {"name": chosen["strategy"]}}) | {"strategy": KINDS["strategy"].default}
    words = ["clplat", "run"]
    for slot, name in chosen.items():
        words += _words(slot, name) if name != usual[slot] else []
    for key, option in options_of_all(chosen).items():
        slot, _, name = key.partition(".")
        value = config[slot][name] if name else config[slot]
        words += _words(key, value) if value != option.default else []
    return shlex.join(words)


def _words(key: str, value: Any) -> list[str]:
    """An option as command-line words that are read as this value again."""
    if isinstance(value, Mapping | list):
        # JSON, because YAML leaves texts bare that another reader of YAML takes for numbers.
        return [f"--{key}", json.dumps(value, ensure_ascii=False)]
    quoted = yaml.safe_dump(value, width=1 << 20).strip()
    text = value if isinstance(value, str) else quoted.removesuffix("\n...").strip()
    return [f"--{key}={text}"] if text.startswith("--") else [f"--{key}", text]


def spaces(config: Mapping[str, Any]) -> dict[str, Space]:
    """The annotated search spaces of all chosen parts, by dotted option."""
    found: dict[str, Space] = {}
    for key, option in options_of_all({slot: config[slot]["name"] for slot in KINDS}).items():
        for mark in get_args(option.type)[1:] if get_origin(option.type) is Annotated else ():
            if isinstance(mark, Float | Int | Choice):
                found[key] = mark
    return found


def help_on(slot: str, name: str = "") -> str:
    """What a part is and which options it takes; without a name, what can be chosen for the slot."""
    if slot not in (*KINDS, *GROUPS):
        raise UserError(f"there is no help on '{slot}'{nearest(slot, [*KINDS, *GROUPS])}")
    kind = KINDS[slot].plural if slot in KINDS else ""
    if kind and not name:
        names = registry.names(kind)
        width = max(map(len, names))
        lines = [f"{part:{width}}  {registry.describe(kind, part)}" for part in names]
        return "\n".join([*lines, "", f"for the options of one of them: --{slot}.help {names[-1]}"])
    constructor = constructor_of(slot, name or (KINDS[slot].default if slot in KINDS else ""))
    if constructor is None:
        return f"--{slot} none leaves the slot empty"
    lines = [(inspect.getdoc(constructor) or "").partition("\n\nArgs:")[0], ""]
    for key, option in options_of(slot, name).items():
        default = "required" if option.required else f"default: {_words(key, option.default)[-1]}"
        lines.append(f"--{key}  {describe_type(option.type)} ({default})\n    {option.help}".rstrip())
    return "\n".join(lines)
