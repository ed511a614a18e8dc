"""The command line: which commands and options there are. What they do is in `clplat.commands`."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import sys
import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from clplat.commands import Command
from clplat.commands.data import data
from clplat.commands.evaluate import evaluate
from clplat.commands.experiments import demo, derive, run, sweep
from clplat.commands.models import shrink
from clplat.commands.records import report, track
from clplat.commands.results import cache, compare, list_, pretrain, search, submit, ui
from clplat.commands.texts import texts
from clplat.config.groups import GROUPS
from clplat.config.slots import PLAIN
from clplat.dotted import trusted
from clplat.errors import UserError, nearest, unknown_name
from clplat.extras import named_extras
from clplat.kinds import KINDS

if TYPE_CHECKING:
    from clplat.sweep import Sweep

_PARTS = f"""\
Parts are chosen by name and configured with dotted options; --config FILE.yaml goes below both:
  {" ".join(f"--{slot}" for slot in KINDS)}
  {" ".join(f"--{group}.OPTION" for group in GROUPS)} {" ".join(f"--{option}" for option in PLAIN)}
for example: --strategy replay --strategy.size 200 --adapter lora --adapter.r 8 --train.epochs 2
What there is: clplat list strategies; what it takes: clplat run --strategy.help replay, --train.help"""

_ENDING = """\
clplat COMMAND --help shows the options of a command.
Environment: CLPLAT_CACHE, the folder of the feature store (~/.cache/clplat); CLPLAT_CACHE_LIMIT, its size
(20GB, 0: none); MLFLOW_TRACKING_URI, a tracking server instead of the files in --out.
Exit codes: 0 done, 1 the feature store is damaged, 2 something must be changed, 130 interrupted."""
#: Letters of a line that says what is wrong; folders of a path.
LONGEST, DEEPEST = 1500, 500

_COMMANDS = (
    demo,
    run,
    derive,
    sweep,
    evaluate,
    report,
    compare,
    ui,
    list_,
    data,
    texts,
    search,
    submit,
    cache,
    track,
    pretrain,
    shrink,
)


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
        _check_texts(words)
        with warnings.catch_warnings():
            if not sys.warnoptions:
                warnings.simplefilter("ignore")  # those of libraries, about what a user cannot change
            try:
                with named_extras("this command"):
                    return _dispatch(words, sweep, script)
            finally:
                sys.stdout.flush()  # a reader that is gone is noticed here, not when Python shuts down
    except UserError as error:
        print(f"clplat: {_in_one_line(str(error))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("clplat: interrupted; run the same command again to go on", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:  # a path that cannot be: too long, no permission, no such device, a full disk
        what = f"cannot use '{error.filename}': " if error.filename is not None else ""
        print(f"clplat: {_in_one_line(what + (error.strerror or str(error)))}", file=sys.stderr)
        return 2
    except RuntimeError as error:
        if not str(error).startswith("Symlink loop"):  # as pathlib calls it before Python 3.13
            raise
        print(f"clplat: cannot use a path: {_in_one_line(str(error))}", file=sys.stderr)
        return 2


def _check_texts(words: Sequence[str]) -> None:
    """No file, domain or option has a name that no system takes."""
    for word in words:
        try:
            word.encode()
        except UnicodeEncodeError:
            raise UserError(f"{word!a} is no text in UTF-8") from None
        if "\0" in word:
            raise UserError(f"{word!a} holds the character NUL")
        if word.count("/") > DEEPEST and not word.startswith(("{", "[")):  # pathlib recurses
            raise UserError(f"'{word}' has more than {DEEPEST} folders")


def _in_one_line(text: str) -> str:
    """What is said, without line breaks, and with long names cut in their middle."""
    line = re.sub(r"\S{240,}", lambda found: f"{found[0][:120]}...{found[0][-60:]}", " ".join(text.split()))
    return line if len(line) <= LONGEST else f"{line[:LONGEST]}..."


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
    options, rest = parser.parse_known_args(words)
    chosen: Command = options.chosen
    own = re.findall(r"--[\w-]+", commands[chosen.name].format_usage())
    if chosen.parts:
        from clplat.config.help import help_asked_for
        from clplat.config.parse import parse_arguments

        if (shown := help_asked_for(rest)) is not None:
            print(shown)
            return 0
        options.raw = parse_arguments(rest, also=own)
    elif rest:
        what = "option" if rest[0].startswith("-") else "word"
        near = nearest(rest[0].partition("=")[0], own)
        raise UserError(f"unknown {what} '{rest[0]}' of clplat {chosen.name}{near}")
    options.start, options.said = start, script or shlex.join(["clplat", *words])
    with trusted() if getattr(options, "trust", False) else nullcontext():
        return chosen.call(options)


def _parser() -> tuple[_Parser, dict[str, _Parser]]:
    """The parser of the command line, and those of the commands by name."""
    from clplat import __version__

    about = "Continual learning for composed image retrieval."
    parser = _Parser(prog="clplat", description=about, epilog=_ENDING)
    parser.add_argument("--version", action="version", version=f"clplat {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    made: dict[str, _Parser] = {}
    for each in _COMMANDS:
        more = _PARTS if each.parts else None
        made[each.name] = commands.add_parser(each.name, help=each.text, description=each.text, epilog=more)
        made[each.name].set_defaults(chosen=each)
        for add in each.options:
            add(made[each.name])
    return parser, made
