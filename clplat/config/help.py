"""The text of ``--<slot>.help NAME``: what a part is and which options it takes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from clplat import registry
from clplat.config.annotations import Slot, slot_in
from clplat.config.groups import GROUPS
from clplat.config.nested import Field, fields, fields_of, maker_of, walk
from clplat.config.options import arguments, describe_type
from clplat.config.resolve import words_of
from clplat.errors import UserError, nearest
from clplat.kinds import KINDS, Kind


def help_asked_for(words: Sequence[str]) -> str | None:
    """The text that ``--<slot>.help`` among command-line words asks for, or None."""
    for place, word in enumerate(words):
        key, _, name = word.removeprefix("--").partition("=")
        if word.startswith("--") and key.endswith(".help"):
            where = key.removesuffix(".help")
            after = [w for w in words[place + 1 : place + 2] if not w.startswith("--")]
            named = dict(zip((w.removeprefix("--") for w in words), words[1:], strict=False))
            return help_on(where, next(iter([*filter(None, [name]), *after]), named.get(where, "")), named)
    return None


def help_on(where: str, name: str = "", named: Mapping[str, str] | None = None) -> str:
    """What a part is and which options it takes; without a name, what can be chosen.

    Args:
        where: a slot or a group, or the dotted option of a part inside another.
        name: of the part.
        named: the parts that are chosen by name, by dotted option.
    """
    head, *path = where.split(".")
    if head not in (*KINDS, *GROUPS):
        raise UserError(f"there is no help on '{where}'{nearest(where, [*KINDS, *GROUPS])}")
    if head in GROUPS:
        return _told(GROUPS[head], fields_of(arguments(GROUPS[head])), where)
    slot = _slot_at(head, path, named or {})
    kind = slot.kind
    if kind.plural and not name:
        return _choice(kind, where)
    name = name or kind.default
    if slot.optional and name == "none":
        return f"--{where} none leaves the slot empty"
    if len(slot.names(name)) > 1:
        return "\n\n".join(help_on(where, one) for one in slot.names(name))
    return _told(maker_of(slot, name), fields(slot, name), where)


def _slot_at(head: str, path: Sequence[str], named: Mapping[str, str]) -> Slot:
    """The slot of an experiment, or that of an argument of the part that is chosen there."""
    slot, where = Slot.of(KINDS[head]), head
    for word in path:
        own = fields(slot, named.get(where, slot.kind.default))
        field = own.get(word)
        if field is None or field.slot is None:
            takes = [key for key, each in own.items() if each.slot is not None]
            raise UserError(
                f"there is no help on '{where}.{word}'{nearest(word, takes)} "
                f"({slot.kind.slot} '{named.get(where, slot.kind.default)}' takes parts in: "
                f"{', '.join(takes) or 'none'})"
            )
        slot, where = field.slot, f"{where}.{word}"
    return slot


def _choice(kind: Kind, where: str) -> str:
    names = registry.names(kind.plural)
    width = max(map(len, names), default=0)
    lines = [f"{part:{width}}  {registry.describe(kind.plural, part)}" for part in names]
    more = f"for the options of one of them: --{where}.help {names[-1]}" if names else "none yet"
    return "\n".join([*lines, "", more])


def _told(constructor: Callable[..., Any], known: Mapping[str, Field], where: str) -> str:
    lines = [(inspect.getdoc(constructor) or "").partition("\n\nArgs:")[0], ""]
    for key, option, value in walk(known, {}, f"{where}."):
        default = "required" if option.required else f"default: {words_of(key, value)[-1]}"
        lines.append(f"--{key}  {describe_type(option.type)} ({default})\n    {option.help}".rstrip())
        if slot_in(option.type) is not None:
            lines[-1] += f"\n    its options: --{key}.help NAME"
    return "\n".join(lines)
