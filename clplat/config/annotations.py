"""Arguments that are configured inside: what an annotation says of the parts or options that it takes."""

from __future__ import annotations

import types
from collections.abc import Sequence
from dataclasses import dataclass, is_dataclass, replace
from typing import Annotated, Any, Union, get_args, get_origin

from clplat.errors import UserError
from clplat.kinds import Kind, every_kind

__all__ = ["Slot", "group_in", "slot_in"]


@dataclass(frozen=True)
class Slot:
    """What takes a part: a slot of the experiment, or an argument of another part.

    Attributes:
        kind: of the part.
        optional: ``none`` leaves it empty.
        several: takes names separated by commas.
        listed: hands several parts on as a list; otherwise ``kind.many`` makes one of them.
    """

    kind: Kind
    optional: bool
    several: bool
    listed: bool = False

    @classmethod
    def of(cls, kind: Kind) -> Slot:
        """The slot of an experiment."""
        return cls(kind, kind.optional, bool(kind.many))

    def names(self, name: str) -> list[str]:
        """The parts that a name stands for, ``"ewc,replay"`` for two where several are taken."""
        return [part.strip() for part in name.split(",")] if self.several else [name]

    def checked(self, name: str, where: str) -> list[str]:
        """The same, of a name that somebody wrote.

        Raises:
            UserError: several where one is taken, or ``none`` among several.
        """
        names = self.names(name)
        if not self.several and "," in name and self.kind.plural:
            raise UserError(f"option '{where}' takes one part, not '{name}'")
        if len(names) > 1 and "none" in names:
            raise UserError(
                f"option '{where}' takes names of {self.kind.plural}, or none alone, not '{name}'"
            )
        return names

    @property
    def words(self) -> str:
        """In an error or a help text: ``"a loss or none"``."""
        one = f"the names of {self.kind.plural}" if self.listed else f"the name of a {self.kind.slot}"
        return f"{one} or none" if self.optional else one


def slot_in(annotation: Any) -> Slot | None:
    """The slot that an argument is: ``Loss``, ``Composer | None``, ``list[Strategy]``; None for other types.

    Example:
        >>> from clplat.parts import Composer
        >>> slot_in(Composer | None).kind.slot, slot_in(list[str])
        ('composer', None)
    """
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is None:
        path = _path(annotation)
        kind = next((kind for kind in every_kind() if path and path in (kind.contract, kind.protocol)), None)
        return None if kind is None else Slot(kind, False, bool(kind.many))
    if origin is Annotated:
        return slot_in(inner[0])
    if origin in (Union, types.UnionType):
        found = next(filter(None, map(slot_in, inner)), None)
        return found and replace(found, optional=found.optional or type(None) in inner)
    if isinstance(origin, type) and issubclass(origin, Sequence):
        found = slot_in(inner[0])
        return found and replace(found, several=True, listed=True)
    return None


def group_in(annotation: Any) -> type | None:
    """The dataclass of options that an argument of this type takes; else None."""
    if get_origin(annotation) is Annotated:
        return group_in(get_args(annotation)[0])
    return annotation if isinstance(annotation, type) and is_dataclass(annotation) else None


def _path(annotation: Any) -> str:
    return f"{annotation.__module__}:{annotation.__qualname__}" if isinstance(annotation, type) else ""
