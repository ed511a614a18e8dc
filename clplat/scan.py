"""Which parts are written where, read from file names and source text: nothing is imported.

An entry point of the group ``clplat.packages`` names a package to scan. Below it, a file's kind is the
nearest folder that bears a kind's name, and what lies between that folder and the file is the part's family::

    strategies/regularisation/ewc.py        strategy 'ewc' of the family 'regularisation'
    clplat/parts/composers/slerp.py         composer 'slerp'

A file holds one public class, the one in its ``__all__``; a module that makes many says so in a literal
``PARTS = {"name": "Class", ...}``. Files and folders that begin with an underscore are no parts.
"""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from clplat.beside import ROOT, home
from clplat.errors import UserError
from clplat.kinds import every_kind

__all__ = [
    "ROOT",
    "Place",
    "class_in",
    "constructor",
    "docstring",
    "entry_points",
    "packages",
    "scanned",
    "tag",
]


@dataclass(frozen=True)
class Place:
    """Where a part is written.

    Attributes:
        module: that defines it, as it is written; `clplat.beside.home` says how it is imported.
        path: of the module's file; None where it is not known before importing.
        attribute: the class; None until the file is read.
        family: folders between the kind's folder and the file, ``""`` for none.
    """

    module: str
    path: Path | None = None
    attribute: str | None = None
    family: str = ""

    def __str__(self) -> str:
        return f"{self.module}:{self.attribute}" if self.attribute else self.module


def entry_points(group: str) -> Iterable[metadata.EntryPoint]:
    """Those of a group. All are read once: it takes a file of every package that is installed."""
    found: Iterable[metadata.EntryPoint] = _every_entry_point().select(group=group)
    return found


@cache
def _every_entry_point() -> Any:
    return metadata.entry_points()


@cache
def packages() -> dict[str, Path]:
    """The packages that are scanned, with their folders; ours are those beside this one, whatever hides them.

    Raises:
        UserError: an entry point of ``clplat.packages`` that names no package.
    """
    found = {}
    for point in entry_points(group="clplat.packages"):
        if point.dist is not None and point.dist.name == "clplat":
            found[point.value] = ROOT.joinpath(*point.value.split("."))
            continue
        spec = importlib.util.find_spec(point.value)
        if spec is None or not spec.submodule_search_locations:
            raise UserError(
                f"the entry point '{point.name}' of clplat.packages names no package: {point.value}"
            )
        found[point.value] = Path(next(iter(spec.submodule_search_locations)))
    return found


@cache
def scanned() -> dict[str, list[tuple[str, Place]]]:
    """Plural of a kind -> the parts that lie in folders, as (name, place); names may still repeat."""
    kinds = {kind.plural for kind in every_kind() if kind.plural}
    found: dict[str, list[tuple[str, Place]]] = {plural: [] for plural in kinds}
    for package, folder in packages().items():
        above = package.rpartition(".")[2]
        for path in sorted(folder.rglob("*.py")):
            inner = path.relative_to(folder).with_suffix("").parts
            if any(word.startswith("_") for word in inner):
                continue
            words = (above, *inner[:-1])
            at = next((i for i in reversed(range(len(words))) if words[i] in kinds), None)
            if at is not None:
                place = Place(".".join((package, *inner)), path, family="/".join(words[at + 1 :]))
                found[words[at]] += _parts_in(path, place)
    return found


def _parts_in(path: Path, place: Place) -> Iterator[tuple[str, Place]]:
    """One part of the file's name, or those of its literal ``PARTS``."""
    declared = _literal(path, "PARTS") if "\nPARTS" in path.read_text(encoding="utf-8") else None
    if declared is None:
        yield path.stem, place
        return
    for name, attribute in declared.items():
        yield name, replace(place, attribute=attribute)


@cache
def class_in(path: Path) -> str:
    """The one public class of a file.

    Raises:
        UserError: there is none in its ``__all__``, or several.
    """
    public = _literal(path, "__all__") or []
    classes = [node.name for node in _parsed(path).body if isinstance(node, ast.ClassDef)]
    found = [name for name in classes if name in public]
    if len(found) != 1:
        has = f"it has {', '.join(found)}" if found else "it has none"
        raise UserError(f"{path} must hold one public class, named in its __all__; {has}")
    return found[0]


def docstring(place: Place) -> str | None:
    """The docstring of a class in its source; None without one: made by a call, inherited, no source."""
    node = _class(place)
    return ast.get_docstring(node) if node is not None else None


def tag(place: Place, name: str) -> Any:
    """The value of ``name = <literal>`` in the body of a part's class; None where there is no such line."""
    node = _class(place)
    return _value_of(name, node.body) if node is not None else None


def constructor(place: Place, contract: str) -> ast.arguments | None:
    """The arguments of a part's constructor, or of the method ``Class.method``, in its source.

    Args:
        contract: the class whose heirs take nothing unless they say so.

    Returns:
        None where the source does not tell: a class that a call makes, that inherits, that is a dataclass.
    """
    owner, _, method = str(place.attribute).partition(".")
    node = _class(replace(place, attribute=owner))
    if node is None or (node.decorator_list and not method):
        return None
    own = [each for each in node.body if isinstance(each, ast.FunctionDef)]
    found = next((each for each in own if each.name == (method or "__init__")), None)
    if found is None:
        bases = {each.id for each in node.bases if isinstance(each, ast.Name)}
        return ast.parse("def f(): ...").body[0].args if bases == {contract} else None  # type: ignore[attr-defined]
    return found.args


def _class(place: Place) -> ast.ClassDef | None:
    path = place.path
    if path is None:
        try:  # finding a submodule imports its package, which is light; the module itself is not imported
            spec = importlib.util.find_spec(home(place.module))
        except (Exception, SystemExit):  # a package may raise anything, and loading the part says what
            return None
        if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
            return None
        path = Path(spec.origin)
    nodes = [n for n in _parsed(path).body if isinstance(n, ast.ClassDef) and n.name == place.attribute]
    return nodes[0] if nodes else None


def _literal(path: Path, name: str) -> Any:
    """The value of ``name = <literal>`` at the top of a file; None where there is no such line."""
    return _value_of(name, _parsed(path).body)


def _value_of(name: str, body: list[ast.stmt]) -> Any:
    for node in body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        value = getattr(node, "value", None)
        if isinstance(value, ast.expr) and any(isinstance(t, ast.Name) and t.id == name for t in targets):
            return ast.literal_eval(value)
    return None


@cache
def _parsed(path: Path) -> ast.Module:
    try:
        return ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is no Python that can be read: {error}") from None
