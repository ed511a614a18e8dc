"""What a constructor takes, as Markdown: its signature, and a table of its options."""

from __future__ import annotations

import json
import types
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from clplat.config.nested import fields_of, walk
from clplat.config.options import Argument, arguments, describe_type
from clplat.config.space import Choice, Float, Int
from clplat.tables.text import markdown
from docs.generate.docstrings import cell

__all__ = ["options", "signature"]

_WIDTH = 90


def signature(made: type) -> str:
    """The call with types and defaults, on one line where that is short."""
    given = [_parameter(option) for option in arguments(made)]
    line = f"{made.__name__}({', '.join(given)})"
    lines = [f"{made.__name__}(", *(f"    {parameter}," for parameter in given), ")"]
    return line if len(line) < _WIDTH else "\n".join(lines)


def options(slot: str, made: type) -> str:
    """The table of a part's options: type, default, search space, meaning."""
    head = ["option", "type", "default", "search space", "meaning"]
    body = [
        [
            f"`--{path}`",
            cell(describe_type(option.type)),
            "required" if option.required else f"`{_value(value)}`",
            _space(option),
            cell(option.help),
        ]
        for path, option, value in walk(fields_of(arguments(made)), {}, f"{slot}.")
    ]
    return markdown(head, body, len(head)) if body else "None."


def _parameter(option: Argument) -> str:
    default = "" if option.required else f" = {option.default!r}"
    return f"{option.name}: {_written(option.type)}{default}"


def _written(kind: Any) -> str:
    """An annotation as it is written, without the search space."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _written(inner[0])
    if origin is Literal:
        return f"Literal[{', '.join(map(repr, inner))}]"
    if origin in (Union, types.UnionType):
        return " | ".join(map(_written, inner))
    if origin is not None:
        return f"{origin.__name__}[{', '.join(map(_written, inner))}]"
    return "None" if kind is type(None) else getattr(kind, "__name__", str(kind))


def _value(value: Any) -> str:
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)


def _space(option: Argument) -> str:
    for mark in get_args(option.type)[1:] if get_origin(option.type) is Annotated else ():
        if isinstance(mark, Choice):
            return ", ".join(f"`{_value(value)}`" for value in mark.values)
        if isinstance(mark, Float | Int):
            return f"{mark.low} to {mark.high}" + (", logarithmic" if mark.log else "")
    return ""
