"""Options of the command line: ``--slot NAME``, ``--slot.key VALUE``, over a recipe or a file.

They make a raw configuration (`clplat.config.raw`); `clplat.config.resolve` checks it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clplat.config.groups import GROUPS
from clplat.config.raw import merge, read_config
from clplat.config.recipes import recipe
from clplat.config.slots import PLAIN, unknown_option
from clplat.errors import UserError, nearest
from clplat.kinds import KINDS


def parse_arguments(argv: Sequence[str], also: Sequence[str] = ()) -> dict[str, Any]:
    """Read ``--config FILE``, ``--recipe NAME``, ``--slot NAME``, ``--slot.key VALUE``; options lie on top.

    Args:
        argv: the words.
        also: options that the command takes itself, offered when a word is nearly one of them.

    Raises:
        UserError: a word that is no option, an option without a value or given twice, an unreadable file.
    """
    raw: dict[str, Any] = {}
    given: dict[str, str] = {}
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        if not word.startswith("--"):
            raise UserError(
                f"unexpected word '{word}'; options look like --strategy replay --strategy.size 200"
            )
        key, equals, value = word[2:].partition("=")
        if key.partition(".")[0] not in (*KINDS, *GROUPS, *PLAIN, "config", "recipe"):
            if "." not in key and (own := nearest(f"--{key}", also)):
                raise UserError(f"unknown option '--{key}'{own}")
            raise unknown_option(key)
        if not equals:
            if not rest or rest[0].startswith("--"):
                hint = f"; a value that begins with -- is written --{key}=VALUE" if rest else ""
                raise UserError(f"option '--{key}' needs a value{hint}")
            value = rest.pop(0)
        if key in ("config", "recipe"):
            raw = merge(raw, read_config(Path(value)) if key == "config" else recipe(value).config)
        elif key in given:
            raise UserError(f"option '--{key}' is given twice: {given[key]} and {value}")
        else:
            given[key] = value
    return merge(raw, given)
