"""What the description of a sweep is made of, checked before anything of it is laid out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clplat.errors import UserError
from clplat.sweep.figure import check_figure

__all__ = ["check_shapes"]


def check_shapes(given: Mapping[str, Any]) -> None:
    """Refuse what is no mapping, no list or no name where one is taken; what parts take is checked later.

    Raises:
        UserError: the first such value.
    """
    for name in ("base", "space", "constraints"):
        if not isinstance(given[name], Mapping):
            raise _wrong(f"'{name}' of a sweep takes a mapping", given[name])
    _check_labelled("groups", given["groups"])
    if isinstance(given["methods"], Mapping):
        _check_labelled("methods", given["methods"])
    elif not isinstance(given["methods"], list | tuple):
        kinds = "a list of strategies, or a mapping of labels to configurations"
        raise _wrong(f"'methods' of a sweep takes {kinds}", given["methods"])
    else:
        for entry in given["methods"]:
            strategy = entry.get("name") if isinstance(entry, Mapping) else entry
            if not isinstance(strategy, str) or not strategy:
                raise _wrong("a method is the name of a strategy or has the key 'name' with one", entry)
    if given["figure"] is not None:
        check_figure(given["figure"])


def _check_labelled(key: str, given: Any) -> None:
    """Labels with a configuration each."""
    if not isinstance(given, Mapping):
        raise _wrong(f"'{key}' of a sweep takes a mapping of labels to configurations", given)
    for label, raw in given.items():
        if not isinstance(raw, Mapping):
            example = "such as {strategy: replay}, or {} for none of its own"
            raise _wrong(f"'{label}' in '{key}' of a sweep takes a configuration {example}", raw)


def _wrong(takes: str, value: Any) -> UserError:
    shown = "null" if value is None else repr(value)
    return UserError(f"{takes}, not {shown if len(shown) <= 80 else shown[:77] + '...'}")
