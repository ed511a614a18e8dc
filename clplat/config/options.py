"""Options: what a constructor's signature says about its arguments, and values checked against it.

The signature is the only place where an argument is declared: its annotation is the type, its default the
default, its line in ``Args:`` the help. Nothing here knows of files.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import math
import re
import reprlib
import types
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from clplat.config.annotations import slot_in
from clplat.config.reading import yaml_of
from clplat.errors import UserError

if TYPE_CHECKING:
    from pydantic import TypeAdapter

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 60
#: What people write for true and false.
_SAID = {"yes": True, "on": True, "no": False, "off": False}


@dataclass(frozen=True)
class Argument:
    """One argument of a constructor; ``type`` keeps its annotation, search space included."""

    name: str
    type: Any
    default: Any
    help: str
    required: bool


@cache
def arguments(constructor: Callable[..., Any]) -> tuple[Argument, ...]:
    """The named arguments of a class or function.

    Raises:
        UserError: an annotation that cannot be read at run time.
    """
    target = constructor.__init__ if isinstance(constructor, type) else constructor  # type: ignore[misc]
    try:
        hints = get_type_hints(target, include_extras=True)
    except NameError as error:
        raise UserError(f"cannot read the types of {constructor.__qualname__}'s arguments: {error}") from None
    help_of = _help(inspect.getdoc(constructor) or "")
    found, defaults = [], _made_defaults(constructor)
    for name, given in inspect.signature(constructor).parameters.items():
        if given.kind in (given.VAR_POSITIONAL, given.VAR_KEYWORD):
            continue
        required = given.default is given.empty
        default = None if required else _plain(defaults.get(name, given.default))
        kind = hints.get(name, Any if given.annotation is given.empty else given.annotation)
        found.append(Argument(name, kind, default, help_of.get(name, ""), required))
    return tuple(found)


def _made_defaults(constructor: Callable[..., Any]) -> dict[str, Any]:
    """The defaults that a dataclass makes anew each time; its signature has a placeholder for them."""
    own = dataclasses.fields(constructor) if dataclasses.is_dataclass(constructor) else ()
    return {f.name: f.default_factory() for f in own if f.default_factory is not dataclasses.MISSING}


def coerce(kind: Any, value: Any) -> Any:
    """``value`` as an object of type ``kind``, in plain data (lists for tuples); texts are read as YAML.

    Raises:
        ValueError: it is none; the message says what is allowed: ``"takes a whole number, not 'x'"``.

    Example:
        >>> coerce(int | None, "3"), coerce(list[str], "[a, b]"), coerce(str, "3")
        (3, ['a', 'b'], '3')
    """
    if slot_in(kind) is not None:
        return value  # a part, see `clplat.config.fill`
    shown = value if value is None or isinstance(value, bool | int | float) else _SHORT.repr(value)
    for reading in _readings(value):
        try:
            # As JSON, where a list is what a tuple is given as; strictly: no 1 for true, no 2.0 for 2.
            found = _plain(_adapter(kind).validate_json(json.dumps(reading), strict=True))
        except (ValueError, TypeError, RuntimeError):  # the last two: no JSON, a type without a schema
            continue
        if not _finite(found):
            raise ValueError(f"takes {describe_type(kind)} that is finite, not {shown}")
        return found
    raise ValueError(
        f"takes {describe_type(kind)}, not {'null' if value is None else shown}{_as_list(kind, value)}"
    )


def _as_list(kind: Any, value: Any) -> str:
    """How a text of the command line is written where it would do as a list: ``"; as a list: [a,b]"``."""
    if not isinstance(value, str) or value.startswith("["):
        return ""
    try:
        coerce(kind, f"[{value}]")
    except ValueError:
        return ""
    return f"; as a list: [{value}]"


def describe_type(kind: Any, many: bool = False) -> str:
    """A type in words.

    Example:
        >>> describe_type(list[str] | None)
        'a list of texts or null'
    """
    slot = slot_in(kind)
    if slot is not None:
        return slot.words
    one, several = {
        int: ("a whole number", "whole numbers"),
        float: ("a number", "numbers"),
        bool: ("true or false", "true or false"),
        str: ("a text", "texts"),
        type(None): ("null", "null"),
        Any: ("anything", "anything"),
    }.get(kind, ("", ""))
    if one:
        return several if many else one
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return describe_type(inner[0], many)
    if origin is Literal:
        return f"one of {', '.join(map(str, inner))}" if len(inner) > 1 else f"only {inner[0]}"
    if origin in (Union, types.UnionType):
        return " or ".join(describe_type(part, many) for part in inner)
    if origin is dict:
        return f"a mapping of texts to {describe_type(inner[1], many=True)}"
    if isinstance(origin, type) and issubclass(origin, Sequence):
        return f"a list of {describe_type(inner[0], many=True)}"
    return re.sub(r"<class '([\w.]+)'>|typing\.", r"\1", str(kind))


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def _readings(value: Any) -> Iterator[Any]:
    """What a value may mean, the likeliest first: texts, also inside lists and mappings, are read as YAML."""
    if isinstance(value, str):
        for number in (int, float):
            with suppress(ValueError):
                yield number(value)
        with suppress(ValueError):
            found = yaml_of(value)
            if not isinstance(found, str | None):  # "#1" and "" are no null
                yield from _readings(found)
        yield from {"null": (None, value), "~": (value, None)}.get(value, (value,))
        if value.lower() in _SAID:  # texts, except where only true or false will do
            yield _SAID[value.lower()]
        return
    yield value
    if isinstance(value, list | tuple):
        yield [next(_readings(part)) for part in value]
    if isinstance(value, dict):
        yield {key: next(_readings(part)) for key, part in value.items()}


def _finite(value: Any) -> bool:
    if isinstance(value, list | dict):
        return all(map(_finite, value.values() if isinstance(value, dict) else value))
    return not isinstance(value, float) or math.isfinite(value)


def _plain(value: Any) -> Any:
    """Lists for tuples: a configuration survives YAML and JSON unchanged."""
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return {key: _plain(part) for key, part in value.items()} if isinstance(value, dict) else value


def _help(text: str) -> dict[str, str]:
    """The ``Args:`` section of a docstring, by argument."""
    section = re.search(r"^Args:\n((?:[ \t]+.*\n?|\n)+)", text + "\n", re.MULTILINE)
    found: dict[str, str] = {}
    last: list[str] = []
    for line in section.group(1).splitlines() if section else []:
        begins = re.match(r"^ {4}(\w+(?:, \w+)*)(?: \([^)]*\))?: (.*)$", line)
        if begins:
            last = begins.group(1).split(", ")
            found.update(dict.fromkeys(last, begins.group(2).strip()))
        elif line.startswith("      "):
            found.update({name: f"{found[name]} {line.strip()}" for name in last})
    return found
