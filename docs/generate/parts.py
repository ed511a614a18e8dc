"""A page per part and an index per kind, made from the classes."""

from __future__ import annotations

import inspect
import json
import re
import types
from collections.abc import Iterator
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from clplat import registry
from clplat.config.options import Argument, arguments, describe_type
from clplat.config.recipes import recipes
from clplat.config.space import Choice, Float, Int
from clplat.kinds import KINDS, Kind
from clplat.tables.text import markdown
from docs.generate.docstrings import (
    cell,
    formulas,
    linked,
    papers,
    sections,
    without_lone_formulas,
)
from docs.generate.ledger import rows_of_part

__all__ = ["SHOWN", "index", "part_page", "part_pages", "tags"]

#: The kinds that have pages: those whose parts are found in folders.
SHOWN = [kind for kind in KINDS.values() if kind.plural]


def part_pages() -> dict[str, str]:
    """Path below docs/ -> text, of the index of each kind and of the page of each part."""
    pages = {f"{kind.plural}/index.md": index(kind) for kind in SHOWN}
    for kind in SHOWN:
        for name in registry.names(kind.plural):
            pages[f"{kind.plural}/{name}.md"] = part_page(kind, name)
    return pages


def index(kind: Kind) -> str:
    """All parts of a kind in one table, and the contract that they keep."""
    body = [[f"[`{name}`]({name}.md)", *_row(kind, name)] for name in registry.names(kind.plural)]
    head = [kind.slot, "what it is", "family", *_worded(kind)]
    lines = [
        f"# {kind.plural.capitalize()}",
        "",
        f"`--{kind.slot} NAME` chooses one; without it, `{kind.default}` is taken"
        + (", and `none` leaves the slot empty." if kind.optional else ".")
        + " What to start with: [Choosing](../choosing.md). How to write one: [Writing a part](../parts.md).",
        "",
        markdown(head, body, len(head)),
        "",
    ]
    if kind.contract:
        lines += ["## Contract", "", f"::: {kind.contract.replace(':', '.')}", ""]
    if kind.tests:
        lines += [f"Its contract tests are `clplat.testing.{kind.tests}`.", ""]
    return "\n".join(lines)


def _row(kind: Kind, name: str) -> list[str]:
    family = registry.place_of(kind.plural, name).family.replace("_", " ")
    marked = [str(getattr(_class(kind, name), tag)) for tag in _worded(kind)]
    return [papers(cell(registry.describe(kind.plural, name))), family, *marked]


def _worded(kind: Kind) -> list[str]:
    """The tags whose value is a word, which an index can show."""
    return [tag for tag in _meanings(kind) if isinstance(getattr(_contract(kind), tag), str)]


def part_page(kind: Kind, name: str) -> str:
    """The page of one part."""
    made = _class(kind, name)
    said = sections(inspect.getdoc(made) or "")
    first, _, body = said[""].partition("\n\n")
    linked_to = {
        title: papers(linked(said[title], lambda word: _address(word, made.__name__)))
        for title in said
        if title not in ("", "Args", "Attributes")
    }
    lines = [f"# {name}", "", linked(first, lambda word: _address(word, made.__name__)), ""]
    lines += _facts(kind, name, made)
    lines += ["## Signature", "", "```python", _signature(kind, name, made), "```", ""]
    lines += _options(kind, made)
    shown = formulas(said[""])
    if shown:
        lines += ["## Formula", "", "```text", *shown, "```", ""]
    rest = linked(without_lone_formulas(body), lambda word: _address(word, made.__name__))
    lines += [rest, ""] if shown or not rest else ["## How it works", "", rest, ""]
    for title, text in linked_to.items():
        if title.startswith("Example"):
            lines += ["## Example", "", "```pycon", text, "```", ""]
        else:
            lines += [f"## {'References' if title == 'Reference' else title}", "", text, ""]
    if not any(title.startswith("Reference") for title in linked_to):
        cited = re.findall(r"\(([^()]*arXiv[^()]*)\)", first)
        lines += ["## References", "", papers("; ".join(cited)), ""] if cited else []
    return "\n".join([*lines, *_tagged(kind, made), *_recipes(kind, name), *_measured(kind, name)])


def _facts(kind: Kind, name: str, made: type) -> list[str]:
    place = registry.place_of(kind.plural, name)
    family = f", family {place.family.replace('_', ' ')}" if place.family else ""
    rows = [
        ["kind", f"[{kind.slot}](index.md){family}"],
        ["command line", f"`--{kind.slot} {name}`"],
        ["Python", f"`from {_package(kind, place.module)} import {made.__name__}`"],
        ["file", f"`{'/'.join(place.module.split('.'))}.py`"],
    ]
    return ["| | |", "|---|---|", *(f"| {label} | {text} |" for label, text in rows), ""]


def _package(kind: Kind, module: str) -> str:
    """The package of its kind, which hands on the class; the module itself where there is none."""
    above, found, _ = module.partition(f"{kind.plural}.")
    return f"{above}{kind.plural}" if found else module


def _signature(kind: Kind, name: str, made: type) -> str:
    given = [_parameter(option) for option in arguments(made)]
    line = f"{made.__name__}({', '.join(given)})"
    return line if len(line) < 90 else "\n".join([f"{made.__name__}(", *(f"    {g}," for g in given), ")"])


def _parameter(option: Argument) -> str:
    default = "" if option.required else f" = {option.default!r}"
    return f"{option.name}: {_code(option.type)}{default}"


def _code(kind: Any) -> str:
    """An annotation as it is written, without the search space."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _code(inner[0])
    if origin is Literal:
        return f"Literal[{', '.join(map(repr, inner))}]"
    if origin in (Union, types.UnionType):
        return " | ".join(map(_code, inner))
    if origin is not None:
        return f"{origin.__name__}[{', '.join(map(_code, inner))}]"
    return "None" if kind is type(None) else getattr(kind, "__name__", str(kind))


def _options(kind: Kind, made: type) -> list[str]:
    found = arguments(made)
    if not found:
        return ["## Options", "", "None.", ""]
    head = ["option", "type", "default", "search space", "meaning"]
    body = [
        [
            f"`--{kind.slot}.{option.name}`",
            cell(describe_type(option.type)),
            "required" if option.required else f"`{_value(option.default)}`",
            _space(option),
            cell(option.help),
        ]
        for option in found
    ]
    return ["## Options", "", markdown(head, body, len(head)), ""]


def _value(value: Any) -> str:
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)


def _space(option: Argument) -> str:
    marks = get_args(option.type)[1:] if get_origin(option.type) is Annotated else ()
    for mark in marks:
        if isinstance(mark, Choice):
            return ", ".join(f"`{_value(value)}`" for value in mark.values)
        if isinstance(mark, Float | Int):
            return f"{mark.low} to {mark.high}" + (", logarithmic" if mark.log else "")
    return ""


def tags(kind: Kind, made: type) -> dict[str, Any]:
    """The class attributes that the contract of the kind declares, with the part's values."""
    return {name: getattr(made, name) for name in _meanings(kind)}


@cache
def _meanings(kind: Kind) -> dict[str, str]:
    """Tag -> what it means: the ``ClassVar`` of the contract, and the comment ``#:`` above each."""
    if not kind.contract:
        return {}
    source = inspect.getsource(_contract(kind))
    found = re.findall(r"((?:^ +#: .*\n)+) +(\w+): ClassVar", source, re.MULTILINE)
    return {name: " ".join(re.findall(r"#: (.*)", text)) for text, name in found}


def _contract(kind: Kind) -> type:
    found: type = registry.load(kind.plural, kind.contract)
    return found


def _tagged(kind: Kind, made: type) -> list[str]:
    found = tags(kind, made)
    if not found:
        return []
    body = [[f"`{tag}`", _words(value), cell(_meanings(kind)[tag])] for tag, value in found.items()]
    return ["## Tags", "", markdown(["tag", "value", "what it says"], body, 3), ""]


def _words(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple | list | set | frozenset):
        return ", ".join(f"`{item}`" for item in (value if isinstance(value, tuple) else sorted(value))) or "none"
    return str(value)


def _recipes(kind: Kind, name: str) -> list[str]:
    using = [recipe for recipe in recipes() if recipe.parts.get(kind.slot) == name]
    items = [f"- [{r.system}](../recipes/{r.name}.md), `--recipe {r.name}`" for r in using]
    return ["## Recipes that use it", "", *(items or ["None."]), ""]


def _measured(kind: Kind, name: str) -> list[str]:
    rows = rows_of_part(kind.slot, name)
    none = f"No row of the ledger names it. `clplat run --{kind.slot} {name}` measures it."
    return ["## Measured", "", *(rows or [none]), ""]


@cache
def _class(kind: Kind, name: str) -> type:
    made: type = registry.load(kind.plural, name)
    return made


@cache
def _addresses() -> dict[str, str]:
    """Class -> the address of its page, from another part's page."""
    return {str(registry.place_of(kind, name).attribute): f"../{kind}/{name}.md" for kind, name in _every()}


def _every() -> Iterator[tuple[str, str]]:
    for kind in SHOWN:
        for name in registry.names(kind.plural):
            yield kind.plural, name


def _address(word: str, own: str) -> str | None:
    return None if word == own else _addresses().get(word)
