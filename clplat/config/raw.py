"""Raw configurations, as written in YAML or dotted: read, sorted into slots, laid over each other.

Values stay what they were; `clplat.config.resolve` checks them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clplat.config.reading import read_yaml
from clplat.errors import UserError
from clplat.kinds import KINDS

#: Of a part, or of several.
_NAME = re.compile(r"[\w.:, -]+")


def unflatten(value: Any, once: bool = False) -> dict[str, Any]:
    """Sort dotted keys into their slots; of an option that is given twice the later value counts.

    Args:
        once: an option that is given twice, as ``train.lr`` and in ``train``, is an error instead.

    Raises:
        UserError: it is no mapping.

    Example:
        >>> unflatten({"strategy": "replay", "strategy.size": 3})
        {'strategy': {'name': 'replay', 'size': 3}}
    """
    if not isinstance(value, Mapping):
        raise UserError(f"a configuration is a mapping of slots, not {type(value).__name__}")
    out: dict[str, Any] = {}
    for key, entry in value.items():
        head, *path = str(key).split(".")
        if not path and head in KINDS:
            entry = as_part(entry)
        for name in reversed(path):
            entry = {name: entry}
        out[head] = _together(out[head], entry, head, once) if head in out else entry
    return out


def as_part(entry: Any) -> dict[str, Any]:
    """A part, or several, as a mapping with the key ``name``, whichever way it was written.

    Example:
        >>> as_part(["ewc", {"name": "replay", "size": 50}])
        {'name': 'ewc,replay', 'replay': {'size': 50}}
    """
    if isinstance(entry, Mapping):
        return dict(entry)
    if not isinstance(entry, list | tuple):
        return {"name": "none" if entry is None else entry}
    parts = [as_part(part) for part in entry]
    if len(parts) == 1:
        return parts[0]
    names = [str(part.pop("name", "")) for part in parts]
    return {"name": ",".join(names)} | {
        n.rpartition(":")[2]: p for n, p in zip(names, parts, strict=True) if p
    }


def _together(old: Any, new: Any, where: str, once: bool) -> Any:
    """Two entries of one key: options beside the name of their part, or more options."""
    if not isinstance(old, Mapping) and not isinstance(new, Mapping):
        if once:
            raise UserError(f"'{where}' is given twice: {old} and {new}")
        return new
    found = as_part(old)
    for key, value in as_part(new).items():
        found[key] = _together(found[key], value, f"{where}.{key}", once) if key in found else value
    return found


def merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Lay one raw configuration over another.

    A slot whose part changes forgets the options of the old part; options of a slot without a name stay.
    """
    out = unflatten(below)
    for key, value in unflatten(above).items():
        old = out.get(key)
        if not isinstance(value, Mapping) or not isinstance(old, dict):
            out[key] = value
        else:
            out[key] = _over(old, value) if key in KINDS else {**old, **value}
    return out


def _over(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """One part over another, and what is inside it."""
    if "name" in old and new.get("name", old["name"]) != old["name"]:
        return dict(new)
    together = {name.strip().rpartition(":")[2] for name in str(old.get("name", "")).split(",")}
    return {**old, **{key: _inside(old.get(key), value, key in together) for key, value in new.items()}}


def _inside(old: Any, new: Any, member: bool) -> Any:
    """A value over another: options stay with the name, or the group, that is below them; others do not."""
    if isinstance(old, Mapping) and (member or "name" in old):
        return _over(old, as_part(new))
    if isinstance(old, Mapping) and isinstance(new, Mapping) and "name" not in new:
        return _over(old, new)
    if isinstance(old, str) and _NAME.fullmatch(old) and isinstance(new, Mapping):
        return _over({"name": old}, new)
    return new


def read_config(path: Path) -> dict[str, Any]:
    """A raw configuration from a YAML file; the key ``about`` is for people and left out.

    Raises:
        UserError: the file cannot be read, or is no YAML mapping.
    """
    content = read_yaml(path, "the configuration")
    if content is not None and not isinstance(content, Mapping):
        raise UserError(f"{path} holds {type(content).__name__}, not a mapping of slots")
    try:
        return unflatten({key: value for key, value in (content or {}).items() if key != "about"}, once=True)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
