"""What several commands take."""

from __future__ import annotations

import re
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["add_no_track", "add_out", "add_workers", "at_least", "raw_of"]


def raw_of(options: Namespace, rest: list[str]) -> dict[str, Any] | None:
    """The raw configuration of dotted options; None when help on a part was requested and printed."""
    from clplat.config.help import help_on
    from clplat.config.parse import parse_arguments

    for place, word in enumerate(rest):
        slot, _, tail = word.removeprefix("--").partition(".")
        key, _, name = tail.partition("=")
        if key == "help":
            after = [w for w in rest[place + 1 : place + 2] if not w.startswith("--")]
            chosen = [rest[i + 1] for i, w in enumerate(rest[:-1]) if w == f"--{slot}"]
            print(help_on(slot, next(iter([*filter(None, [name]), *after, *chosen]), "")))
            return None
    return parse_arguments(rest, also=options.own)


def at_least(low: int) -> Callable[[str], int]:
    """A check of an option's value: a whole number, not below ``low``."""

    def whole(word: str) -> int:
        if not re.fullmatch(r"[+-]?\d+", word) or int(word) < low:
            raise ArgumentTypeError(f"takes a whole number of at least {low}, not '{word}'")
        return int(word)

    return whole


def add_out(parser: ArgumentParser, default: str) -> None:
    """``--out``, the folder of the runs."""
    text = "folder of runs (default: %(default)s)"
    parser.add_argument("--out", type=Path, default=Path(default), help=text)


def add_workers(parser: ArgumentParser, default: int) -> None:
    """What every command takes that runs more than one experiment."""
    text = "processes (default: %(default)s)"
    parser.add_argument("--workers", type=at_least(1), default=default, metavar="N", help=text)
    add_no_track(parser)


def add_no_track(parser: ArgumentParser) -> None:
    """``--no-track``."""
    parser.add_argument("--no-track", action="store_true", help="do not log to MLflow")
