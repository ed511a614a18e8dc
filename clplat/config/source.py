"""A part's options read from its source, so that a mistyped one is refused before seconds of imports.

What cannot be read this way, such as classes that a call makes, is left to `clplat.config.nested`, which asks
the class itself; so is everything that only a constructor knows.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Annotated, Any, Literal

from clplat import registry
from clplat.config.annotations import Slot
from clplat.config.options import coerce
from clplat.config.space import Choice, Float, Int
from clplat.dotted import is_dotted, may_import
from clplat.errors import UserError, nearest
from clplat.kinds import KINDS, Kind
from clplat.scan import Place, constructor

__all__ = ["options_in_source", "refuse_by_source"]

#: What annotations of plain data are made of.
_WORDS: dict[str, Any] = {
    **{kind.__name__: kind for kind in (bool, dict, float, int, list, str, tuple)},
    **{"Annotated": Annotated, "Any": Any, "Literal": Literal, "Mapping": Mapping, "Sequence": Sequence},
    **{"Choice": Choice, "Float": Float, "Int": Int},
}


@cache
def options_in_source(kind: Kind, name: str) -> dict[str, Any] | None:
    """Name -> type of the arguments of a part's constructor; None where one of them is no plain data.

    Raises:
        UserError: no part has that name; its file cannot be read.

    Example:
        >>> from clplat.kinds import KINDS
        >>> list(options_in_source(KINDS["strategy"], "patch"))
        ['alpha', 'anchor', 'first', 'path']
    """
    module, _, attribute = (name if kind.plural else kind.maker).partition(":")
    if not kind.plural or (is_dotted(name) and name not in registry.places(kind.plural)):
        place = Place(module, None, attribute)
    else:
        place = registry.place_of(kind.plural, name)
    made = constructor(place, kind.contract.rpartition(":")[2])
    if made is None:
        return None
    given = [*made.posonlyargs, *made.args, *made.kwonlyargs]
    types = {each.arg: _type(each.annotation) for each in given if each.arg not in ("self", "cls")}
    if not kind.plural:
        types.pop("name", None)
    return None if None in types.values() else types


def _type(annotation: ast.expr | None) -> Any:
    """The type that is written, or None."""
    try:
        code = compile(ast.Expression(annotation or ast.Name("Any", ast.Load())), "", "eval")
        found = eval(code, {"__builtins__": {}}, _WORDS)  # names of the table above alone
        return None if isinstance(found, str) else found
    except (NameError, TypeError, AttributeError, ValueError):
        return None


def refuse_by_source(given: Mapping[str, Any]) -> None:
    """Refuse options that do not exist, and values of a wrong type, where the source says so.

    Args:
        given: a raw configuration, sorted into slots.
    """
    for key, kind in KINDS.items():
        entry, slot = given.get(key, {}), Slot.of(kind)
        name = entry.get("name", kind.default) if isinstance(entry, Mapping) else None
        if not isinstance(name, str) or (slot.optional and name == "none"):
            continue
        names = slot.checked(name, key)
        for one in names:
            if not may_import(kind, one):
                continue  # finding its file would import the packages that it is in; see `registry.load`
            word = one.rpartition(":")[2]
            options = entry if len(names) == 1 else entry.get(word, {})
            where = key if len(names) == 1 else f"{key}.{word}"
            if isinstance(options, Mapping):
                _check(kind, one, {k: v for k, v in options.items() if k != "name"}, where)


def _check(kind: Kind, name: str, given: Mapping[str, Any], where: str) -> None:
    known = options_in_source(kind, name)
    if known is None:
        return
    for key, value in given.items():
        if key not in known:
            near = nearest(key, known).replace("'", f"'{where}.", 1)
            allowed = ", ".join(known) or "none"
            of = f"{kind.slot} '{name}'{near}"
            raise UserError(f"unknown option '{where}.{key}' of {of} (allowed: {allowed})")
        try:
            coerce(known[key], value)
        except ValueError as error:
            raise UserError(f"option '{where}.{key}' {error}") from None
