"""The command line: which commands and options there are. What they do is in `clplat.commands`."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

from clplat.commands import cache, pretrain, run, search, show, sweep
from clplat.config.groups import GROUPS
from clplat.config.slots import PLAIN
from clplat.errors import UserError, nearest, unknown_name
from clplat.kinds import KINDS

if TYPE_CHECKING:
    from clplat.sweep import Sweep

__all__ = ["main", "script"]

_PARTS = f"""\
Parts are chosen by name and configured with dotted options; --config FILE.yaml goes below both:
  {" ".join(f"--{slot}" for slot in KINDS)}
  {" ".join(f"--{group}.OPTION" for group in GROUPS)} {" ".join(f"--{option}" for option in PLAIN)}
for example: --strategy replay --strategy.size 200 --adapter lora --adapter.r 8 --train.epochs 2
What there is: clplat list strategies; what it takes: clplat run --strategy.help replay, --train.help"""

_Call: TypeAlias = Callable[[argparse.Namespace, list[str]], int]
#: Name -> what the command does, what adds its options, and what it is for.
_COMMANDS: dict[str, tuple[_Call, Callable[[argparse.ArgumentParser], None], str]] = {
    "demo": (sweep.demo, sweep.add_demo, "compare seven strategies on five domains, in about three minutes"),
    "run": (run.run, run.add_run, "run one experiment, or go on with an interrupted one"),
    "sweep": (
        sweep.sweep,
        sweep.add_sweep,
        "methods x seeds x stream orders, each tuned first where there is a budget",
    ),
    "report": (sweep.report, sweep.add_report, "write OUT/report.html of a sweep anew, also while it runs"),
    "compare": (show.compare, show.add_compare, "the table of finished runs, from MLflow"),
    "ui": (show.ui, show.add_ui, "start MLflow on this machine and print the link to the comparison"),
    "list": (show.list_parts, show.add_list, f"what exists: {show.LISTED}"),
    "search": (
        search.search,
        search.add_search,
        "search a gallery with a trained run: a table and a picture",
    ),
    "cache": (
        cache.cache,
        cache.add_cache,
        "the feature store: what it holds, whether it is whole, and how to empty it",
    ),
    "track": (run.track, run.add_track, "log finished or running experiments to MLflow (again)"),
    "pretrain": (
        pretrain.pretrain,
        pretrain.add_pretrain,
        "train a small CLIP on captioned pictures; --backbone local-dir: loads it",
    ),
}
#: Commands that take the options of parts, which `clplat.config.parse` reads.
_TAKES_PARTS = ("demo", "run", "sweep")


class _Parser(argparse.ArgumentParser):
    """Reports mistakes as everything else here does: in one line, without a page of usage."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **kwargs)

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message.replace('argument ', 'option ', 1)} (see {self.prog} --help)")


def main(argv: Sequence[str] | None = None, *, sweep: Sweep | None = None, script: str | None = None) -> int:
    """Run one command.

    Args:
        argv: the words after ``clplat``; those of this process unless given.
        sweep: what the command ``sweep`` starts from, its options lie on top.
        script: how the call is written in reports when it is not ``clplat``.

    Returns:
        The exit code: 0 done, 1 ``clplat cache verify`` found damage, 2 the user must change something,
        130 interrupted.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        with warnings.catch_warnings():
            if not sys.warnoptions:
                warnings.simplefilter("ignore")  # those of libraries, about what a user cannot change
            try:
                return _dispatch(words, sweep, script)
            finally:
                sys.stdout.flush()  # a reader that is gone is noticed here, not when Python shuts down
    except UserError as error:
        print(f"clplat: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("clplat: interrupted; run the same command again to go on", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def script(sweep: Sweep, file: str) -> int:
    """Run a sweep with the command line of ``clplat sweep`` on top of it; return the exit code.

    Args:
        file: of the script; its name is that of the folder, ``runs/<name>``, unless ``--out`` is given.

    Example:
        The last lines of a script: ``if __name__ == "__main__": sys.exit(script(SWEEP, __file__))``
    """
    words = sys.argv[1:]
    out = ["--out", f"runs/{Path(file).stem.replace('_', '-')}"]
    call = shlex.join(["python", f"sweeps/{Path(file).name}", *words])
    return main(["sweep", *out, *words], sweep=sweep, script=call)


def _dispatch(words: list[str], start: Sweep | None, script: str | None) -> int:
    parser, commands = _parser()
    if words and not words[0].startswith("-") and words[0] not in commands:
        raise unknown_name("command", words[0], commands)
    known, rest = parser.parse_known_args(words)
    known.own = re.findall(r"--[\w-]+", commands[known.command].format_usage())
    if rest and not known.takes_parts:
        what = "option" if rest[0].startswith("-") else "word"
        near = nearest(rest[0].partition("=")[0], known.own)
        raise UserError(f"unknown {what} '{rest[0]}' of clplat {known.command}{near}")
    known.start, known.said = start, script or shlex.join(["clplat", *words])
    call: _Call = known.call
    return call(known, rest)


def _parser() -> tuple[_Parser, dict[str, _Parser]]:
    """The parser of the command line, and those of the commands by name."""
    from clplat import __version__

    parser = _Parser(prog="clplat", description="Continual learning for composed image retrieval.")
    parser.add_argument("--version", action="version", version=f"clplat {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    made: dict[str, _Parser] = {}
    for name, (call, add_options, text) in _COMMANDS.items():
        parts = name in _TAKES_PARTS
        made[name] = commands.add_parser(name, help=text, description=text, epilog=_PARTS if parts else None)
        made[name].set_defaults(call=call, takes_parts=parts)
        add_options(made[name])
    return parser, made
