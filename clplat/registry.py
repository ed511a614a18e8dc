"""Names -> parts: ``--<slot> NAME`` is the file ``<kind>/**/NAME.py`` (`clplat.scan`).

A single part can also be registered without a folder, by an entry point ``name = "module:Class"`` of the
group ``clplat.<kind>``. A part is imported when it is used, since that takes seconds.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from clplat.dotted import imported, is_dotted
from clplat.errors import UserError, unknown_name
from clplat.kinds import Kind, kind_named
from clplat.scan import ROOT, Place, class_in, docstring, scanned
from clplat.scan import tag as tag_in

__all__ = [
    "classes_in",
    "describe",
    "exports",
    "joiner",
    "load",
    "maker",
    "names",
    "place_of",
    "places",
    "singular",
    "tag",
]


@cache
def places(kind: str) -> dict[str, Place]:
    """Every part of a kind by name, sorted, with where it is written.

    Raises:
        UserError: an unknown kind, two parts of one name, a name with capitals.
    """
    plural = kind_named(kind).plural
    single = [(p.name, Place(p.module, None, p.attr)) for p in entry_points(group=f"clplat.{plural}")]
    found: dict[str, Place] = {}
    for name, place in [*scanned()[plural], *single]:
        other = found.get(name)
        if other is not None and not _same(other, place):
            raise UserError(f"two parts are called {singular(kind)} '{name}': {other} and {place}")
        if name != name.lower():
            raise UserError(f"the {singular(kind)} name '{name}' ({place}) must be lower case")
        found[name] = place
    return dict(sorted(found.items()))


def _same(one: Place, other: Place) -> bool:
    return (one.module == other.module and None in (one.attribute, other.attribute)) or str(one) == str(other)


def singular(kind: str) -> str:
    """``"strategies"`` -> ``"strategy"``: the word that messages and option names use."""
    return kind_named(kind).slot


def names(kind: str) -> list[str]:
    """All registered names of one kind, sorted.

    Example:
        >>> "replay" in names("strategies")
        True
    """
    return list(places(kind))


def place_of(kind: str, name: str) -> Place:
    """Where the part is written, its class included.

    Raises:
        UserError: nothing has that name (the nearest ones are offered), or its file declares no single class.
    """
    known = places(kind)
    if name not in known:
        raise unknown_name(singular(kind), name, known)
    place = known[name]
    return replace(place, attribute=class_in(place.path)) if place.path and not place.attribute else place


def load(kind: str, name: str) -> Any:
    """Return the class registered as ``name``, or the part at a dotted path ``package.module:Class``.

    Raises:
        UserError: nothing has that name (the nearest ones are offered); its module cannot be imported, or may
            not be (`clplat.dotted`); a dotted path to what is no part of this kind.
    """
    if is_dotted(name) and name not in places(kind):
        return imported(kind_named(kind), name)
    place = place_of(kind, name)
    try:
        return EntryPoint(name=name, value=str(place), group=f"clplat.{kind}").load()
    except (ImportError, AttributeError) as error:
        what = f"{singular(kind)} '{name}'"
        raise UserError(f"cannot load the {what} from {place}: {_why(place, error)}") from error


def maker(kind: Kind) -> Callable[..., Any]:
    """What makes any part of a kind that is not scanned, by the part's name."""
    made: Callable[..., Any] = EntryPoint(kind.slot, kind.maker, "").load()
    return made


def joiner(kind: Kind) -> Callable[..., Any]:
    """What makes one part of a kind of several; its first argument takes their list."""
    made: Callable[..., Any] = EntryPoint(kind.slot, kind.many, "").load()
    return made


def _why(place: Place, error: Exception) -> str:
    """The reason; names a folder of the user's that hides ours, ./strategies say, as ImportError does not."""
    package = place.module.split(".")[0]
    if place.path is not None and place.path.is_relative_to(ROOT):
        shadow = getattr(importlib.import_module(package), "__file__", None) or f"./{package}"
        if Path(shadow).resolve().parent != ROOT / package:
            return f"{shadow} shadows clplat's own '{package}' package; rename it or run from another folder"
    return str(error)


def tag(kind: str, name: str, which: str, default: Any) -> Any:
    """A class attribute of a part, such as a strategy's ``role``, read from its source without importing it.

    Args:
        default: what holds where the class does not set it, or no part has that name.
    """
    found = tag_in(place_of(kind, name), which) if name in places(kind) else None
    return default if found is None else found


def describe(kind: str, name: str) -> str:
    """The first line of the part's docstring, for listings; read from its source, as imports take seconds."""
    text = docstring(place_of(kind, name)) if name in places(kind) else None
    lines = (text if text is not None else inspect.getdoc(load(kind, name)) or "").strip().splitlines()
    return lines[0] if lines else ""


@cache
def classes_in(package: str) -> dict[str, Place]:
    """Class name -> place, of the parts in the scanned packages at or below ``package``."""
    inside = [
        place_of(kind, name)
        for kind, parts in scanned().items()
        for name, place in parts
        if place.module.startswith(f"{package}.")
    ]
    return {str(place.attribute): place for place in sorted(inside, key=lambda place: str(place.attribute))}


def exports(package: str) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """``__getattr__`` and ``__dir__`` of a package of parts: ``from strategies import EWC``, at any depth.

    One part at a time: using EWC in a plain loop does not import what LoRAPerDomain needs.
    """

    def attribute(name: str) -> Any:
        found = {} if name.startswith("_") else classes_in(package)
        if name not in found:
            raise AttributeError(f"module '{package}' has no attribute '{name}'")
        return getattr(importlib.import_module(found[name].module), name)

    return attribute, lambda: sorted(classes_in(package))
