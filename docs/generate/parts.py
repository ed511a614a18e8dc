"""A page per part and an index per kind, made from the classes."""

from __future__ import annotations

import inspect
import re
from functools import cache
from typing import Any

from clplat import registry
from clplat.config.recipes import Recipe, recipes
from clplat.kinds import Kind, every_kind
from clplat.tables.text import markdown
from docs.generate.docstrings import cell, formulas, linked, papers, sections, without_lone_formulas
from docs.generate.ledger import rows_of_part
from docs.generate.options import options, signature

__all__ = ["SHOWN", "index", "link_names", "part_page", "part_pages", "tags"]

#: The kinds that have pages: those whose parts are found in folders.
SHOWN = [kind for kind in every_kind() if kind.plural]


def part_pages() -> dict[str, str]:
    """Path below docs/ -> text, of the index of each kind and of the page of each part."""
    pages = {f"{kind.plural}/index.md": index(kind) for kind in SHOWN}
    for kind in SHOWN:
        pages |= {f"{kind.plural}/{name}.md": part_page(kind, name) for name in registry.names(kind.plural)}
    return pages


def link_names(text: str) -> str:
    """A page with a section of tables per kind: every name in a first column becomes a link."""
    kinds = {kind.plural.capitalize(): kind.plural for kind in SHOWN}
    lines, plural = text.splitlines(), None
    for i, line in enumerate(lines):
        if line.startswith("## "):
            plural = kinds.get(line[3:])
        if plural and line.startswith("| `"):
            first, rest = line[2:].split(" | ", 1)
            lines[i] = f"| {re.sub(r'`([a-z0-9_]+)`', _link_to(plural), first)} | {rest}"
    return "\n".join(lines)


def _link_to(plural: str) -> str:
    return rf"[`\1`]({plural}/\1.md)"


def index(kind: Kind) -> str:
    """All parts of a kind in one table, and the contract that they keep."""
    families = any(place.family for place in registry.places(kind.plural).values())
    words = [tag for tag in _meanings(kind) if isinstance(getattr(_contract(kind), tag), str)]
    body = []
    for name, place in registry.places(kind.plural).items():
        said = [str(getattr(_class(kind, name), tag)) for tag in words]
        family = [place.family.replace("_", " ")] if families else []
        about = papers(cell(registry.describe(kind.plural, name)))
        body.append([f"[`{name}`]({name}.md)", *family, *said, about])
    head = [kind.slot, *(["family"] if families else []), *words, "what it is"]
    contract = []
    if kind.contract:
        contract = ["## Contract", "", f"::: {kind.contract.replace(':', '.')}", ""]
        contract += _tagged(kind, _contract(kind), "default")
    lines = [
        f"# {kind.plural.capitalize()}",
        "",
        f"`--{kind.slot} NAME` chooses one; without it, `{kind.default}` is taken"
        + (", and `none` leaves the slot empty." if kind.optional else ".")
        + " What to start with: [Choosing](../choosing.md). How to write one: [Writing a part](../parts.md).",
        "",
        markdown(head, body, len(head)),
        "",
        *contract,
        *([f"Its contract tests are `clplat.testing.{kind.tests}`.", ""] if kind.tests else []),
    ]
    return "\n".join(lines)


def part_page(kind: Kind, name: str) -> str:
    """The page of one part."""
    made = _class(kind, name)
    said = {title: _linked(text, made) for title, text in sections(inspect.getdoc(made) or "").items()}
    first, _, body = said.pop("").partition("\n\n")
    lines = [
        *(f"# {name}", "", first, "", *_facts(kind, name, made), ""),
        *("## Signature", "", "```python", signature(made), "```", ""),
        *("## Options", "", options(kind.slot, made), ""),
        *_explained(made, body),
    ]
    example = said.pop("Example", "")
    cited = "; ".join(re.findall(r"\(([^()]*arXiv[^()]*)\)", inspect.getdoc(made) or ""))
    references = said.pop("References", said.pop("Reference", papers(cited)))
    texts = {title: text for title, text in said.items() if title not in ("Args", "Attributes")}
    for title, text in {"References": references, **texts}.items():
        lines += [f"## {title}", "", text, ""] if text else []
    lines += ["## Example", "", "```pycon", example, "```", ""] if example else []
    return "\n".join([*lines, *_tagged(kind, made), *_recipes(kind, name), *_measured(kind, name)])


def _facts(kind: Kind, name: str, made: type) -> list[str]:
    place = registry.place_of(kind.plural, name)
    family = f", family {place.family.replace('_', ' ')}" if place.family else ""
    above, in_folder, _ = place.module.partition(f"{kind.plural}.")
    package = f"{above}{kind.plural}" if in_folder else place.module
    return [
        "| | |",
        "|---|---|",
        f"| kind | [{kind.slot}](index.md){family} |",
        f"| command line | `--{kind.slot} {name}` |",
        f"| Python | `from {package} import {made.__name__}` |",
        f"| file | `{place.module.replace('.', '/')}.py` |",
    ]


def _explained(made: type, body: str) -> list[str]:
    """What the docstring says after its first line; its formulas stand in front, in a block."""
    shown = formulas(sections(inspect.getdoc(made) or "")[""])
    if shown:
        return ["## Formula", "", "```text", *shown, "```", "", without_lone_formulas(body), ""]
    return ["## How it works", "", body, ""] if body else []


def tags(kind: Kind, made: type) -> dict[str, Any]:
    """The class attributes that the contract of the kind declares, with the part's values."""
    return {name: getattr(made, name) for name in _meanings(kind)}


def _tagged(kind: Kind, made: type, second: str = "value") -> list[str]:
    meanings = _meanings(kind)
    body = [[f"`{tag}`", _words(value), cell(meanings[tag])] for tag, value in tags(kind, made).items()]
    return ["## Tags", "", markdown(["tag", second, "what it says"], body, 3), ""] if body else []


@cache
def _meanings(kind: Kind) -> dict[str, str]:
    """Tag -> what it means: the ``ClassVar`` of the contract, and the comment ``#:`` above each."""
    if not kind.contract:
        return {}
    source = inspect.getsource(_contract(kind))
    found = re.findall(r"((?:^ +#: .*\n)+) +(\w+): ClassVar", source, re.MULTILINE)
    return {name: " ".join(re.findall(r"#: (.*)", text)) for text, name in found}


def _words(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple | frozenset):
        return ", ".join(f"`{item}`" for item in sorted(value)) or "none"
    return str(value)


def _recipes(kind: Kind, name: str) -> list[str]:
    using = [recipe for recipe in _every_recipe() if name in recipe.parts.get(kind.slot, "").split(",")]
    items = [f"- [{r.system}](../recipes/{r.name}.md), `--recipe {r.name}`" for r in using]
    return ["## Recipes that use it", "", *(items or ["None."]), ""]


@cache
def _every_recipe() -> list[Recipe]:
    """Read once: each part asks which of them use it."""
    return recipes()


def _measured(kind: Kind, name: str) -> list[str]:
    none = f"No row of the ledger names it. `clplat run --{kind.slot} {name}` measures it."
    return ["## Measured", "", *(rows_of_part(kind.slot, name) or [none]), ""]


@cache
def _class(kind: Kind, name: str) -> type:
    made: type = registry.load(kind.plural, name)
    return made


def _contract(kind: Kind) -> type:
    return _class(kind, kind.contract)


def _linked(text: str, own: type) -> str:
    return papers(linked(text, lambda word: None if word == own.__name__ else _addresses().get(word)))


@cache
def _addresses() -> dict[str, str]:
    """Class -> the address of its page, from another part's page."""
    return {
        str(registry.place_of(kind.plural, name).attribute): f"../{kind.plural}/{name}.md"
        for kind in SHOWN
        for name in registry.names(kind.plural)
    }
