"""Names -> parts. Every part, ours or a third party's, is found through one entry-point group per kind."""

from __future__ import annotations

import ast
import importlib.util
import inspect
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from clplat.errors import UserError, unknown_name

__all__ = ["KINDS", "describe", "load", "names"]

KINDS = ("strategies", "adapters", "prompts", "composers", "projections", "losses", "scenarios")
_SINGULAR = {"strategies": "strategy", "losses": "loss"}
_OWN_FOLDERS = ("strategies", "scenarios", "sweeps")


def singular(kind: str) -> str:
    """``"strategies"`` -> ``"strategy"``: the word that messages and option names use."""
    return _SINGULAR.get(kind, kind.removesuffix("s"))


@cache
def _points(kind: str) -> dict[str, EntryPoint]:
    if kind not in KINDS:
        raise unknown_name("kind of part", kind, KINDS)
    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=f"clplat.{kind}"):
        other = found.get(point.name)
        if other is not None and other.value != point.value:
            raise UserError(
                f"two installed packages register the {singular(kind)} '{point.name}': "
                f"{other.value} and {point.value}"
            )
        if point.name != point.name.lower():
            raise UserError(f"the {singular(kind)} name '{point.name}' ({point.value}) must be lower case")
        found[point.name] = point
    return dict(sorted(found.items()))


def names(kind: str) -> list[str]:
    """All registered names of one kind, sorted.

    Example:
        >>> "replay" in names("strategies")
        True
    """
    return list(_points(kind))


def load(kind: str, name: str) -> Any:
    """Return the class registered as ``name``, or the one at a dotted path ``package.module:Class``.

    Raises:
        UserError: nothing has that name (the nearest ones are offered), or its module cannot be imported.
    """
    points = _points(kind)
    point = points.get(name)
    if point is None and ":" in name:
        point = EntryPoint(name=name, value=name, group=f"clplat.{kind}")
    if point is None:
        raise unknown_name(singular(kind), name, points)
    try:
        return point.load()
    except (ImportError, AttributeError) as error:
        raise UserError(
            f"cannot load the {singular(kind)} '{name}' from {point.value}: {_why(point, error)}"
        ) from error


def _why(point: EntryPoint, error: Exception) -> str:
    """Say so when the user's own ./strategies folder hides ours: the plain ImportError would not."""
    package = point.module.split(".")[0]
    if package in _OWN_FOLDERS:
        shadow = getattr(importlib.import_module(package), "__file__", None) or f"./{package}"
        own = Path(__file__).resolve().parents[1] / package
        if Path(shadow).resolve().parent != own:
            return f"{shadow} shadows clplat's own '{package}' package; rename it or run from another folder"
    return str(error)


def describe(kind: str, name: str) -> str:
    """The first line of the part's docstring, for listings; read from its source, as imports take seconds."""
    point = _points(kind).get(name)
    text = _docstring(point) if point is not None else None
    lines = (text if text is not None else inspect.getdoc(load(kind, name)) or "").strip().splitlines()
    return lines[0] if lines else ""


def _docstring(point: EntryPoint) -> str | None:
    """What the source says of a class; None where it does not tell: made by a call, inherited, no source."""
    try:  # finding a submodule imports its package, which is light; the module itself is not imported
        spec = importlib.util.find_spec(point.module)
    except ImportError:
        return None
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return None
    tree = _parsed(spec.origin)
    found = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == point.attr]
    return ast.get_docstring(found[0]) if found else None


@cache
def _parsed(path: str) -> ast.Module:
    with open(path, encoding="utf-8") as file:
        return ast.parse(file.read())
