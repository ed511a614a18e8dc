"""The text of ``--<slot>.help NAME``: what a part is and which options it takes."""

from __future__ import annotations

import inspect
from collections.abc import Sequence

from clplat import registry
from clplat.config.groups import GROUPS
from clplat.config.options import describe_type
from clplat.config.resolve import words_of
from clplat.config.slots import constructor_of, options_of
from clplat.errors import UserError, nearest
from clplat.kinds import KINDS


def help_asked_for(words: Sequence[str]) -> str | None:
    """The text that ``--<slot>.help`` among command-line words asks for, or None."""
    for place, word in enumerate(words):
        slot, _, tail = word.removeprefix("--").partition(".")
        key, _, name = tail.partition("=")
        if key == "help":
            after = [w for w in words[place + 1 : place + 2] if not w.startswith("--")]
            chosen = [words[i + 1] for i, w in enumerate(words[:-1]) if w == f"--{slot}"]
            return help_on(slot, next(iter([*filter(None, [name]), *after, *chosen]), ""))
    return None


def help_on(slot: str, name: str = "") -> str:
    """What a part is and which options it takes; without a name, what can be chosen for the slot."""
    if slot not in (*KINDS, *GROUPS):
        raise UserError(f"there is no help on '{slot}'{nearest(slot, [*KINDS, *GROUPS])}")
    kind = KINDS[slot].plural if slot in KINDS else ""
    if kind and not name:
        names = registry.names(kind)
        width = max(map(len, names), default=0)
        lines = [f"{part:{width}}  {registry.describe(kind, part)}" for part in names]
        more = f"for the options of one of them: --{slot}.help {names[-1]}" if names else "none yet"
        return "\n".join([*lines, "", more])
    constructor = constructor_of(slot, name or (KINDS[slot].default if slot in KINDS else ""))
    if constructor is None:
        return f"--{slot} none leaves the slot empty"
    lines = [(inspect.getdoc(constructor) or "").partition("\n\nArgs:")[0], ""]
    for key, option in options_of(slot, name).items():
        default = "required" if option.required else f"default: {words_of(key, option.default)[-1]}"
        lines.append(f"--{key}  {describe_type(option.type)} ({default})\n    {option.help}".rstrip())
    return "\n".join(lines)
