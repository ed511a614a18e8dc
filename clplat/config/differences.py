"""In what two configurations differ, in words: for whatever is used again only if it is the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["differences", "in_words"]

#: How many differences are said; of others the number.
SAID = 3


def differences(held: Any, wanted: Any, where: str = "") -> dict[str, str]:
    """Option -> what it is there and here, of every option that differs; empty where nothing does.

    Of a part with another name only that is said.

    Example:
        >>> held = {"strategy": {"name": "ewc", "lam": 5}, "seed": 0}
        >>> differences(held, {"strategy": {"name": "naive"}, "seed": 1})
        {'strategy': 'ewc there and naive here', 'seed': '0 there and 1 here'}
    """
    if not isinstance(held, Mapping) or not isinstance(wanted, Mapping):
        return {} if held == wanted else {where: f"{_short(held)} there and {_short(wanted)} here"}
    if "name" in held and "name" in wanted and held["name"] != wanted["name"]:
        return differences(held["name"], wanted["name"], where)
    found: dict[str, str] = {}
    for key in [*held, *(key for key in wanted if key not in held)]:
        found |= differences(held.get(key), wanted.get(key), f"{where}.{key}".lstrip("."))
    return found


def in_words(found: Mapping[str, str]) -> str:
    """Differences as part of a sentence.

    Example:
        >>> in_words({"seed": "0 there and 1 here"})
        'seed is 0 there and 1 here'
    """
    said = [f"{key} is {text}" if key else text for key, text in list(found.items())[:SAID]]
    more = [f"and {len(found) - SAID} more"] if len(found) > SAID else []
    return ", ".join([*said, *more])


def _short(value: Any) -> str:
    """A value in a few words, as it would stand in YAML."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if isinstance(value, Mapping):
        inside = ", ".join(f"{key}: {_short(each)}" for key, each in value.items())
        text = str(value.get("name") or f"{{{inside}}}")
    elif isinstance(value, Sequence) and not isinstance(value, str):
        text = f"[{', '.join(map(_short, value))}]"
    else:
        text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
