"""What the commands do, and the options of each. Heavy libraries load only in the command that needs them."""

from __future__ import annotations

import math
import re
from argparse import ArgumentTypeError, Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

#: Adds itself to a parser, or to a group of options of one.
Option: TypeAlias = Callable[[Any], Any]


@dataclass(frozen=True)
class Command:
    """One command; ``parts`` says that it takes the options of parts too, as ``raw`` of its options."""

    name: str
    text: str
    options: tuple[Option, ...]
    parts: bool
    call: Callable[[Namespace], int]


def command(
    *options: Option, parts: bool = False, text: str = ""
) -> Callable[[Callable[[Namespace], int]], Command]:
    """Make a command of the function that does it; its name and docstring are those of the command."""
    return lambda f: Command(f.__name__.strip("_"), text or f.__doc__ or "", options, parts, f)


def option(name: str, text: str = "", **how: Any) -> Option:
    """An option as argparse declares it, ``"--seed N"`` say; its help ends with its default if it has one."""
    name, *metavar = name.split()
    how |= {"metavar": metavar[0]} if metavar else {}
    if how.get("default") is not None and "default" not in text:
        text = f"{text} (default: %(default)s)".strip()
    return lambda parser: parser.add_argument(name, help=text, **how)


def one_of(*options: Option) -> Option:
    """Options of which exactly one is given."""

    def add(parser: Any) -> None:
        group = parser.add_mutually_exclusive_group(required=True)
        for each in options:
            each(group)

    return add


def at_least(low: int, most: int = 10**12) -> Callable[[str], int]:
    """A check of an option's value: a whole number from ``low`` to ``most``."""

    def whole(word: str) -> int:
        if not re.fullmatch(r"[+-]?[0-9]{1,18}", word) or not low <= int(word) <= most:
            limits = f"of at least {low}" if most == 10**12 else f"from {low} to {most}"
            raise ArgumentTypeError(f"takes a whole number {limits}, not '{word[:40]}'")
        return int(word)

    return whole


def positive(word: str) -> float:
    """A check of an option's value: a finite number above 0."""
    try:
        value = float(word)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise ArgumentTypeError(f"takes a number above 0, not '{word[:40]}'")
    return value


def out(default: str) -> Option:
    """``--out``, the folder of the runs."""
    return option("--out", "folder of runs", type=Path, default=Path(default))


def workers(default: int) -> Option:
    """``--workers``, of a command that runs more than one experiment."""
    return option("--workers N", "processes", type=at_least(1), default=default)


TRUST = option(
    "--trust",
    "import classes that the folder or model names as module:Class, which runs their code",
    action="store_true",
)
ALSO = option("--also NAMES", "write the metrics to these too, by comma: csv, tensorboard, wandb")
NO_TRACK = option("--no-track", "do not log to MLflow", action="store_true")


def print_table(head: Sequence[str], body: Sequence[Sequence[str]], words: int, *strategies: str) -> None:
    """Print a table: drawn in a terminal, with the colours of the rows' strategies; else as plain lines."""
    from clplat.tables.text import aligned, coloured
    from clplat.terminal import plain_output

    if plain_output():
        print(aligned(head, body, words))
        return
    from rich.console import Console

    Console(highlight=False).print(coloured(head, body, words, strategies or [""] * len(body)))
