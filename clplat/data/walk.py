"""Walks over the fields of records: what they hold as plain data, and the words in them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import lru_cache, partial
from types import FunctionType
from typing import Any

from clplat.data.lazy import LazyExamples

__all__ = ["beyond", "plain", "words"]


def plain(value: Any) -> Any:
    """Records as JSON: each a mapping of its fields that count in a comparison and are not at their default.

    Example:
        >>> from clplat.data.items import Item
        >>> plain((Item("dog", text="a dog"), 0.5))
        [{'key': 'dog', 'text': 'a dog'}, 0.5]
    """
    if is_dataclass(value):
        return beyond(value, ())
    if isinstance(value, Mapping):
        return {str(key): plain(value[key]) for key in sorted(value)}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(entry) for entry in value]
    return value


def beyond(record: Any, known: Collection[str]) -> dict[str, Any]:
    """As `plain`, of the fields that are not ``known``."""
    held = {f.name: getattr(record, f.name) for f in fields(record) if f.compare and f.name not in known}
    usual = {f.name: _default(f) for f in fields(record)}
    return {name: plain(value) for name, value in held.items() if value != usual[name]}


def _default(field: Field[Any]) -> Any:
    return field.default_factory() if field.default_factory is not MISSING else field.default


def words(value: Any) -> Iterator[str]:
    """Every text in fields called ``text`` or ``texts``, of records however deep.

    Example:
        >>> from clplat.data.items import Item
        >>> list(words([Item("dog", text="a dog"), Item("cat", text="a cat")]))
        ['a dog', 'a cat']
    """
    if isinstance(value, LazyExamples):
        yield from value.words()
    elif is_dataclass(value):
        kind: Any = type(value)
        for name in _names(kind):
            held = getattr(value, name)
            if name in ("text", "texts") and held is not None:
                yield from (held,) if isinstance(held, str) else held
            elif not isinstance(held, _LEAVES):
                yield from words(held)
    elif isinstance(value, Mapping):
        yield from words(list(value.values()))
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for entry in value:
            yield from words(entry)


#: What holds no record: most fields of a large gallery.
_LEAVES = (str, int, float, type(None), partial, FunctionType)


@lru_cache
def _names(kind: Any) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))
