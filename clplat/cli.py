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
from typing import TYPE_CHECKING, Any, NoReturn

from clplat import commands as do
from clplat.errors import UserError, nearest, unknown_name
from clplat.kinds import KINDS

if TYPE_CHECKING:
    from clplat.sweep import Sweep

__all__ = ["main", "script"]

_PARTS = """\
Parts are chosen by name and configured with dotted options; --config FILE.yaml goes below both:
  --scenario --backbone --adapter --prompt --composer --projection --loss --strategy
  --train.OPTION --data.OPTION --evaluation.OPTION --seed --device
for example: --strategy replay --strategy.size 200 --adapter lora --adapter.r 8 --train.epochs 2
What there is: clplat list strategies; what it takes: clplat run --strategy.help replay, --train.help"""


class _Parser(argparse.ArgumentParser):
    """Tells mistakes as everything else here does: in one line, without a page of usage."""

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
    call: Callable[[argparse.Namespace, list[str]], int] = known.call
    return call(known, rest)


def _parser() -> tuple[_Parser, dict[str, _Parser]]:
    from clplat import __version__

    parser = _Parser(prog="clplat", description="Continual learning for composed image retrieval.")
    parser.add_argument("--version", action="version", version=f"clplat {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    made: dict[str, _Parser] = {}

    def add(name: str, call: Callable[..., int], text: str, parts: bool = False) -> _Parser:
        made[name] = commands.add_parser(name, help=text, description=text, epilog=_PARTS if parts else None)
        made[name].set_defaults(call=call, takes_parts=parts)
        return made[name]

    demo = add("demo", do.demo, "compare seven strategies on five domains, in about three minutes", True)
    _out(demo, "runs/demo")
    _workers(demo, min(2, os.cpu_count() or 1))

    one = add("run", do.run, "run one experiment, or go on with an interrupted one", True)
    one.add_argument("--out", type=Path, help="folder of result and checkpoints (default: runs/<parts>)")
    text = (
        "steps between checkpoints, 0 for none within an experience (default: 1 %% of the time goes to them)"
    )
    one.add_argument("--checkpoint-every", type=_at_least(0), metavar="N", help=text)
    one.add_argument("--no-track", action="store_true", help="do not log to MLflow")
    one.add_argument("--print-config", action="store_true", help="print the whole configuration and stop")

    text = "methods x seeds x stream orders, each tuned first where there is a budget"
    sweep = add("sweep", do.sweep, text, True)
    _out(sweep, "runs/sweep")
    _workers(sweep, 1)
    _sweep(sweep)

    text = "write OUT/report.html of a sweep anew, also while it runs"
    page = add("report", do.report, text)
    page.add_argument("out", type=Path, metavar="OUT", help="folder of the sweep")
    page.add_argument("--storage", metavar="ADDRESS", help="where its studies are (default: in the folder)")

    table = add("compare", do.compare, "the table of finished runs, from MLflow")
    _out(table, "runs")
    table.add_argument("--scenario", help="only runs on this scenario")

    page = add("ui", do.ui, "start MLflow on this machine and print the link to the comparison")
    _out(page, "runs")
    page.add_argument("--port", type=_at_least(1), default=5000, help="(default: %(default)s)")

    kinds = ", ".join([*(kind.plural for kind in KINDS.values() if kind.plural), "recipes", "systems"])
    shown = add("list", do.list_parts, f"what exists: {kinds}")
    shown.add_argument("kind", metavar="KIND", help=kinds)
    shown.add_argument("family", nargs="?", metavar="FAMILY", help="only this family, of recipes or parts")

    find = add("search", do.search, "search a gallery with a trained run: a table and a picture")
    _out(find, "runs")
    which = find.add_mutually_exclusive_group(required=True)
    which.add_argument("--run", help="folder of a run, or an MLflow run id")
    text = "of MLflow's registry: models:/NAME@champion or models:/NAME/1"
    which.add_argument("--model", metavar="MODEL", help=text)
    text = "a picture file, or the key of a gallery picture"
    find.add_argument("--reference", required=True, metavar="PICTURE", help=text)
    find.add_argument("--text", required=True, help="the change in words")
    find.add_argument("--domain", help="whose gallery (default: all)")
    find.add_argument("--k", type=_at_least(1), default=10, help="pictures to find (default: %(default)s)")
    text = "experiences trained (default: the newest)"
    find.add_argument("--model-version", type=_at_least(0), metavar="N", help=text)
    text = "exact, or an approximate faiss index: hnsw, ivf (extra [index]; default: %(default)s)"
    find.add_argument("--index", default="exact", metavar="NAME", help=text)
    text = "where the picture goes (default: %(default)s)"
    find.add_argument("--grid", type=Path, default=Path("search.png"), metavar="FILE", help=text)

    text = "the feature store: what it holds, whether it is whole, and how to empty it"
    cache = add("cache", do.cache, text)
    cache.add_argument("action", metavar="ACTION", help=", ".join(do.CACHE_ACTIONS))
    text = "clear only what was not used for so many days"
    cache.add_argument("--older-than", type=_at_least(0), metavar="DAYS", help=text)

    track = add("track", do.track, "log finished or running experiments to MLflow (again)")
    track.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="of a run")

    pre = add(
        "pretrain", do.pretrain, "train a small CLIP on captioned pictures; --backbone local-dir: loads it"
    )
    pre.add_argument("--out", type=Path, required=True, help="folder, in open_clip's layout")
    text = "catalogue, a picture folder, or a .jsonl/.csv/.tsv file (default: %(default)s)"
    pre.add_argument("--source", default="catalogue", help=text)
    text = "an open_clip model configuration (default: the tiny one)"
    pre.add_argument("--config", type=Path, metavar="FILE", help=text)
    for option, default in (("pairs", 20000), ("epochs", 16), ("batch-size", 128)):
        text = "(default: %(default)s)"
        pre.add_argument(f"--{option}", type=_at_least(1), default=default, metavar="N", help=text)
    pre.add_argument("--seed", type=int, default=0, metavar="N", help="(default: %(default)s)")
    pre.add_argument("--lr", type=float, default=2e-3, help="learning rate (default: %(default)s)")
    return parser, made


def _at_least(low: int) -> Callable[[str], int]:
    def whole(word: str) -> int:
        if not re.fullmatch(r"[+-]?\d+", word) or int(word) < low:
            raise argparse.ArgumentTypeError(f"takes a whole number of at least {low}, not '{word}'")
        return int(word)

    return whole


def _out(parser: _Parser, default: str) -> None:
    text = "folder of runs (default: %(default)s)"
    parser.add_argument("--out", type=Path, default=Path(default), help=text)


def _sweep(parser: _Parser) -> None:
    """The options of a sweep that are no options of parts; see `clplat.sweep.plan.Sweep`."""

    def option(name: str, text: str, **more: Any) -> None:
        parser.add_argument(f"--{name}", help=text, **more)

    option("plan", "a sweep in YAML; the other options lie on top of it", type=Path, metavar="FILE")
    option("strategies", "what is compared, by comma (default: the seven of the demo)", metavar="NAMES")
    option("recipes", "published systems to compare instead, by comma", metavar="NAMES")
    option("seeds", "of the final runs, by comma (default: 0,1,2)", metavar="NUMBERS")
    option("orders", "stream orders, at most one a seed (default: as many)", type=_at_least(1), metavar="N")
    option("controls", "never tuned, by comma (default: frozen,cumulative)", metavar="NAMES")
    option("trials", "tune each strategy with so many Optuna trials", type=_at_least(1), metavar="N")
    option("seconds", "tune each strategy for so long", type=float, metavar="S")
    option("tflops", "tune each strategy with so much training", type=float, metavar="N")
    option("tune", "slots or options to tune, by comma (default: strategy,train.lr)", metavar="NAMES")
    option("search", argparse.SUPPRESS, dest="tune")  # its older name
    text = "search space of an option: 'train.lr={low: 1e-5, high: 1e-2, log: true}', 'adapter.r=[4, 8]'"
    option("space", text, action="append", metavar="KEY=SPACE")
    option("objective", "what tuning improves, several by comma (default: final)", metavar="NAMES")
    text = "what a setting must meet: 'forgetting<=5', 'zero_shot>=80'"
    option("constraint", text, action="append", metavar="LIMIT")
    option("sampler", "tpe, random, gp, cmaes, nsga2, nsga3, qmc (default: tpe)", metavar="NAME")
    option("pruner", "halving or none (default: halving)", metavar="NAME")
    option("storage", "postgresql://... or grpc://host:port (default: a file in --out)", metavar="ADDRESS")
    text = "who starts the workers: local, ray (extra [ray]), slurm (extra [slurm]) (default: %(default)s)"
    option("launcher", text, default="local", metavar="NAME")


def _workers(parser: _Parser, default: int) -> None:
    parser.add_argument(
        "--workers", type=_at_least(1), default=default, metavar="N", help="processes (default: %(default)s)"
    )
    parser.add_argument("--no-track", action="store_true", help="do not log to MLflow")
