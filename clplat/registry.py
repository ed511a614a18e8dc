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
from importlib.metadata import EntryPoint
from typing import Any

from clplat.beside import home
from clplat.dotted import imported, is_dotted
from clplat.errors import UserError, unknown_name
from clplat.extras import MissingLibrary, named_extras
from clplat.kinds import Kind, kind_named
from clplat.scan import Place, class_in, docstring, entry_points, scanned
from clplat.scan import tag as tag_in

__all__ = [
    "classes_in",
    "classes_of",
    "describe",
    "exports",
    "exports_of",
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
        value = str(replace(place, module=home(place.module)))
        with named_extras(f"the {singular(kind)} '{name}'"):
            return EntryPoint(name=name, value=value, group=f"clplat.{kind}").load()
    except MissingLibrary:
        raise
    except (ImportError, AttributeError) as error:
        what = f"{singular(kind)} '{name}'"
        raise UserError(f"cannot load the {what} from {place}: {error}") from error


def maker(kind: Kind) -> Callable[..., Any]:
    """What makes any part of a kind that is not scanned, by the part's name."""
    made: Callable[..., Any] = EntryPoint(kind.slot, kind.maker, "").load()
    return made


def joiner(kind: Kind) -> Callable[..., Any]:
    """What makes one part of a kind of several; its first argument takes their list."""
    made: Callable[..., Any] = EntryPoint(kind.slot, kind.many, "").load()
    return made


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


@cache
def classes_of(kind: str) -> dict[str, Place]:
    """Class name -> place, of all parts of a kind, wherever they lie."""
    found = [place_of(kind, name) for name in names(kind)]
    return {str(place.attribute): place for place in sorted(found, key=lambda place: str(place.attribute))}


def exports(package: str) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """``__getattr__`` and ``__dir__`` of a package of parts: ``from strategies import EWC``, at any depth.

    One part at a time: using EWC in a plain loop does not import what LoRAPerDomain needs.
    """
    return _handing_on(package, lambda: classes_in(package))


def exports_of(kind: str) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """As `exports`, of all parts of a kind: ``from clplat.losses import InfoNCE``."""
    return _handing_on(f"clplat.{kind}", lambda: classes_of(kind))


def _handing_on(
    module: str, classes: Callable[[], dict[str, Place]]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    def attribute(name: str) -> Any:
        found = {} if name.startswith("_") else classes()
        if name not in found:
            raise AttributeError(f"module '{module}' has no attribute '{name}'")
        with named_extras(name):
            return getattr(importlib.import_module(home(found[name].module)), name)

    return attribute, lambda: sorted(classes())
