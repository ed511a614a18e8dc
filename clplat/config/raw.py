"""Raw configurations, as written in YAML or dotted: read, sorted into slots, laid over each other.

Values stay what they were; `clplat.config.resolve` checks them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from clplat.errors import UserError
from clplat.kinds import KINDS


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
        old = out.get(key)
        if not isinstance(value, Mapping) or not isinstance(old, dict):
            out[key] = value
        elif key in KINDS and "name" in old and value.get("name", old["name"]) != old["name"]:
            out[key] = dict(value)
        else:
            out[key] = {**old, **value}
    return out


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
