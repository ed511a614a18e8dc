"""Parts and groups of options from a raw configuration: every default filled in, every value checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from clplat.config.annotations import Slot
from clplat.config.nested import Field, Part, fields, fields_of, walk
from clplat.config.options import arguments, coerce
from clplat.config.raw import as_part
from clplat.errors import UserError, nearest

__all__ = ["filled", "grouped"]


def filled(slot: Slot, entry: Any, where: str) -> Part:
    """A part from what a raw configuration says of it, with every default filled in and every value checked.

    Args:
        slot: what it fills.
        entry: a name, a mapping with the key ``name``, or a list of those.
        where: the dotted option of the slot, for messages.

    Raises:
        UserError: no such part or option, a value of the wrong type, an option that is missing.
    """
    given = as_part(entry)
    name = given.pop("name", None)
    if not isinstance(name, str):
        raise UserError(f"option '{where}' takes the name of a part, not {name!r}")
    name = ",".join(slot.checked(name, where))
    return Part(name, _filled(fields(slot, name), given, where, f"{slot.kind.slot} '{name}'"))


def grouped(made_by: Callable[..., Any], entry: Any, where: str, usual: Any = None) -> Part:
    """A group of options, the fields of a dataclass, from what a raw configuration says of it."""
    if not isinstance(entry, Mapping):
        example = next(iter(fields_of(arguments(made_by))))
        raise UserError(f"option '{where}' takes options of its own, such as --{where}.{example}")
    return Part("", _filled(fields_of(arguments(made_by), usual), entry, where, ""))


def _filled(known: Mapping[str, Field], given: Mapping[str, Any], where: str, said: str) -> dict[str, Any]:
    for key in given:
        if key not in known:
            raise _unknown(known, str(key), where, said)
    found = {}
    for key, field in known.items():
        value = found[key] = _value(field, given, f"{where}.{key}")
        if field.argument.required and value is None:
            raise UserError(f"{said or where} needs --{where}.{key}: {field.argument.help or 'no default'}")
    return found


def _value(field: Field, given: Mapping[str, Any], where: str) -> Any:
    argument = field.argument
    value, is_given = given.get(argument.name, argument.default), argument.name in given
    if field.member and field.slot is not None:
        if not isinstance(value or {}, Mapping):
            raise UserError(f"option '{where}' takes options of its own, not {value!r}")
        return filled(field.slot, {**(value or {}), "name": field.member}, where)
    if field.group is not None:
        return grouped(field.group, value if is_given else {}, where, argument.default)
    if field.slot is not None:
        part = as_part(value)
        empty = part.get("name") in ("none", "null", "") and (field.slot.optional or not is_given)
        return None if empty else filled(field.slot, part, where)
    if not is_given:
        return value
    try:
        return coerce(argument.type, value)
    except ValueError as error:
        raise UserError(f"option '{where}' {error}") from None


def _unknown(known: Mapping[str, Field], key: str, where: str, said: str) -> UserError:
    """The error for an option that does not exist; it offers the nearest one, also of what is inside."""
    siblings = [path for path, _, _ in walk(known, {})]
    inner = [path for path in siblings if path.rpartition(".")[2] == key]
    near = f"; did you mean '{inner[0]}'?" if inner else nearest(key, siblings)
    near, of = near.replace("'", f"'{where}.", 1), f" of {said}" if said else ""
    return UserError(f"unknown option '{where}.{key}'{of}{near} (allowed: {', '.join(siblings) or 'none'})")
