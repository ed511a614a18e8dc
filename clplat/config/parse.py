"""Configurations as people write them, in YAML and on the command line: read and laid over each other.

Values stay what they were; `clplat.config.resolve` checks them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from clplat.config.groups import GROUPS
from clplat.config.slots import PLAIN, chosen_parts, unknown_option
from clplat.errors import UserError, nearest
from clplat.kinds import KINDS

__all__ = ["merge", "parse_arguments", "read_config", "unflatten"]


def unflatten(value: Any) -> dict[str, Any]:
    """Sort dotted keys into their slots.

    Example:
        >>> unflatten({"strategy": "replay", "strategy.size": 3})
        {'strategy': {'name': 'replay', 'size': 3}}
    """
    if not isinstance(value, Mapping):
        raise UserError(f"a configuration is a mapping of slots, not {type(value).__name__}")
    out: dict[str, Any] = {}
    for key, entry in value.items():
        head, _, tail = str(key).partition(".")
        if tail:
            for name in reversed(tail.split(".")):
                entry = {name: entry}
        elif head in KINDS and not isinstance(entry, Mapping):
            entry = {"name": "none" if entry is None else entry}
        if isinstance(entry, Mapping) and isinstance(out.get(head, {}), dict):
            out[head] = {**out.get(head, {}), **entry}
        else:
            out[head] = entry
    return out


def merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Lay one raw configuration over another.

    A slot whose part changes forgets the options of the old part; options of a slot without a name stay.
    """
    out = unflatten(below)
    for key, value in unflatten(above).items():
        held = out.get(key)
        if not isinstance(value, Mapping) or not isinstance(held, dict):
            out[key] = value
        elif key in KINDS and "name" in held and value.get("name", held["name"]) != held["name"]:
            out[key] = dict(value)
        else:
            out[key] = {**held, **value}
    return out


def parse_arguments(argv: Sequence[str], also: Sequence[str] = ()) -> dict[str, Any]:
    """Read ``--config FILE``, ``--recipe NAME``, ``--slot NAME``, ``--slot.key VALUE``; options lie on top.

    Args:
        argv: the words.
        also: options that the command takes itself, offered when a word is nearly one of them.

    Raises:
        UserError: a word that is no option, an option without a value or given twice, an unreadable file.
    """
    raw: dict[str, Any] = {}
    given: dict[str, str] = {}
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        if not word.startswith("--"):
            raise UserError(
                f"unexpected word '{word}'; options look like --strategy replay --strategy.size 200"
            )
        key, equals, value = word[2:].partition("=")
        if key.partition(".")[0] not in (*KINDS, *GROUPS, *PLAIN, "config", "recipe"):
            if own := nearest(f"--{key}", also):
                raise UserError(f"unknown option '--{key}'{own}")
            raise unknown_option(key, chosen_parts({}))
        if not equals:
            if not rest or rest[0].startswith("--"):
                hint = f"; a value that begins with -- is written --{key}=VALUE" if rest else ""
                raise UserError(f"option '--{key}' needs a value{hint}")
            value = rest.pop(0)
        if key in ("config", "recipe"):
            raw = merge(raw, read_config(Path(value)) if key == "config" else _recipe(value))
        elif key in given:
            raise UserError(f"option '--{key}' is given twice: {given[key]} and {value}")
        else:
            given[key] = value
    return merge(raw, given)


def _recipe(name: str) -> Mapping[str, Any]:
    from clplat.config.recipes import recipe

    return recipe(name).config


def read_config(path: Path) -> dict[str, Any]:
    """A raw configuration from a YAML file; the key ``about`` is for people and left out.

    Raises:
        UserError: the file cannot be read, or is no YAML mapping.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read the configuration {path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if content is not None and not isinstance(content, Mapping):
        raise UserError(f"{path} holds {type(content).__name__}, not a mapping of slots")
    return unflatten({key: value for key, value in (content or {}).items() if key != "about"})
