"""What fills a slot: a part, several parts together, parts and groups of options inside parts.

All of it is one tree of names and options: read from a raw configuration (`clplat.config.fill`), written as
plain data (`plain`), listed by dotted option (`walk`), and made into objects (`clplat.config.make`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from clplat import registry
from clplat.config.annotations import Slot, group_in, slot_in
from clplat.config.options import Argument, arguments
from clplat.errors import UserError

__all__ = ["Field", "Part", "fields", "fields_of", "maker_of", "plain", "walk"]


@dataclass(frozen=True)
class Part:
    """A part and its options.

    Args:
        name: of the part; ``none`` for an empty slot, ``ewc,replay`` for several, empty for a group of
            options.
        options: every argument of its constructor; for several parts the options of each, under its name.
            What is configured inside is a `Part` again.
    """

    name: str
    options: Mapping[str, Any]

    def option(self, path: str) -> Any:
        """The value of a dotted option; the name of a part that is inside."""
        head, _, rest = path.partition(".")
        value = self.options[head]
        if isinstance(value, Part):
            return value.option(rest) if rest else value.name
        return value


@dataclass(frozen=True)
class Field:
    """One entry of a part's options.

    Attributes:
        argument: name, type, default and help.
        slot: where it takes parts.
        group: the dataclass, where it takes options of its own.
        member: the part's name, where it holds the options of one of several parts.
    """

    argument: Argument
    slot: Slot | None = None
    group: type | None = None
    member: str = ""

    def inside(self, name: str) -> dict[str, Field]:
        """The options of what fills this field, by name."""
        if self.group is not None:
            return fields_of(arguments(self.group), self.argument.default)
        return fields(self.slot, name) if self.slot is not None else {}


def fields(slot: Slot, name: str) -> dict[str, Field]:
    """The options of a part, or of several, by name.

    Raises:
        UserError: no such part; a part that is named twice.
    """
    if slot.optional and name == "none":
        return {}
    names = slot.names(name)
    if len(names) == 1:
        return fields_of(argument for argument in arguments(maker_of(slot, name)) if _free(slot, argument))
    one, found = replace(slot, several=False, listed=False), {}
    for member in names:
        key = member.rpartition(":")[2]
        if key in found:
            raise UserError(f"{slot.kind.slot} '{name}' names '{key}' twice")
        found[key] = Field(Argument(key, Any, None, "", False), one, member=member)
    return found if slot.listed else found | fields_of(arguments(registry.joiner(slot.kind))[1:])


def fields_of(own: Iterable[Argument], usual: Any = None) -> dict[str, Field]:
    """The arguments of a constructor as fields; ``usual`` is an instance with other defaults."""
    if usual is not None:
        own = [replace(each, default=getattr(usual, each.name), required=False) for each in own]
    return {each.name: Field(each, slot_in(each.type), group_in(each.type)) for each in own}


def maker_of(slot: Slot, name: str) -> Callable[..., Any]:
    """What makes a part of this name."""
    kind = slot.kind
    found: Callable[..., Any] = registry.load(kind.plural, name) if kind.plural else registry.maker(kind)
    return found


def _free(slot: Slot, argument: Argument) -> bool:
    """Whether an argument is an option: what makes parts by their name takes it as one."""
    return bool(slot.kind.plural) or argument.name != "name"


def walk(
    known: Mapping[str, Field], options: Mapping[str, Any], where: str = ""
) -> Iterator[tuple[str, Argument, Any]]:
    """Dotted option, argument and value of all that can be chosen, also inside; by default its defaults."""
    for key, field in known.items():
        value, path = options.get(key, field.argument.default), f"{where}{key}"
        name = value.name if isinstance(value, Part) else field.member
        if not field.member and field.group is None:
            yield path, field.argument, name or value
        if isinstance(value, Part) or field.member or field.group is not None:
            yield from walk(field.inside(name), value.options if isinstance(value, Part) else {}, f"{path}.")


def plain(part: Part) -> dict[str, Any]:
    """A part as plain data, which `filled` reads again."""
    together = part.name.split(",")
    found: dict[str, Any] = {"name": part.name} if part.name else {}
    for key, value in part.options.items():
        entry = plain(value) if isinstance(value, Part) else value
        if isinstance(value, Part) and len(together) > 1 and value.name in together:
            del entry["name"]
        elif isinstance(value, Part) and entry.keys() == {"name"}:
            entry = value.name  # as it was written before it was a part
        found[key] = entry
    return found
