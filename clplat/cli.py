"""The command line. Heavy libraries load only in the command that needs them."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from clplat.errors import UserError

__all__ = ["main"]

_EPILOG = "Options of parts are dotted: --strategy replay --strategy.size 200. See them with --strategy.help replay."


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0 done, 2 the user must change something, 130 interrupted."""
    words = list(sys.argv[1:] if argv is None else argv)
    parser = _parser()
    try:
        known, rest = parser.parse_known_args(words)
        if rest and not known.takes_parts:
            parser.error(f"unknown option {rest[0]} for '{known.command}'")
        command: Callable[[argparse.Namespace, list[str]], int] = known.call
        return command(known, rest)
    except UserError as error:
        print(f"clplat: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("clplat: interrupted; run the same command again to go on", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _parser() -> argparse.ArgumentParser:
    from clplat import __version__

    parser = argparse.ArgumentParser(
        prog="clplat", description="Continual learning for composed image retrieval."
    )
    parser.add_argument("--version", action="version", version=f"clplat {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(
        name: str, call: Callable[[argparse.Namespace, list[str]], int], text: str, parts: bool = False
    ) -> Any:
        made = commands.add_parser(name, help=text, description=text, epilog=_EPILOG if parts else None)
        made.set_defaults(call=call, takes_parts=parts)
        return made

    demo = add("demo", _demo, "compare seven strategies on five domains, in about three minutes", True)
    _runs(demo, "runs/demo")
    demo.add_argument(
        "--workers", type=int, default=min(2, os.cpu_count() or 1), help="processes (default: %(default)s)"
    )

    one = add("run", _run, "run one experiment, or go on with an interrupted one", True)
    one.add_argument("--out", type=Path, help="folder of result and checkpoints (default: runs/<parts>)")
    one.add_argument(
        "--checkpoint-every", type=int, default=100, help="steps between checkpoints (default: %(default)s)"
    )
    one.add_argument("--no-track", action="store_true", help="do not log to MLflow")
    one.add_argument(
        "--print-config", action="store_true", help="print the resolved configuration as YAML and stop"
    )

    sweep = add("sweep", _sweep, "strategies x seeds, or an Optuna study with --trials", True)
    _runs(sweep, "runs/sweep")
    sweep.add_argument(
        "--strategies", default="frozen,naive,replay,ewc,distill,patch,cumulative", help="names, by comma"
    )
    sweep.add_argument("--seeds", default="0", help="numbers, by comma (default: %(default)s)")
    sweep.add_argument("--workers", type=int, default=1, help="processes (default: %(default)s)")
    sweep.add_argument("--trials", type=int, help="tune --strategy with this many Optuna trials instead")
    sweep.add_argument(
        "--search", default="strategy", help="slots or options to search, by comma (default: %(default)s)"
    )

    table = add("compare", _compare, "the table of finished runs, from MLflow")
    _runs(table, "runs")
    table.add_argument("--scenario", help="only runs on this scenario")

    page = add("ui", _ui, "start MLflow on this machine and print the link to the comparison")
    _runs(page, "runs")
    page.add_argument("--port", type=int, default=5000)

    listing = add(
        "list", _list, "what exists: strategies, adapters, prompts, composers, projections, losses, scenarios"
    )
    listing.add_argument("kind")

    find = add("search", _search, "search a gallery with a trained run")
    _runs(find, "runs")
    find.add_argument("--run", required=True, help="folder of a run, or an MLflow run id")
    find.add_argument("--reference", required=True, help="a picture file, or the key of a gallery picture")
    find.add_argument("--text", required=True, help="the change in words")
    find.add_argument("--domain", help="whose gallery (default: all)")
    find.add_argument("--k", type=int, default=10)
    find.add_argument("--model-version", type=int, help="experiences trained (default: the newest)")
    find.add_argument(
        "--grid", type=Path, default=Path("search.png"), help="where the picture goes (default: %(default)s)"
    )

    track = add("track", _track, "log finished or running experiments to MLflow (again)")
    track.add_argument("folders", nargs="+", type=Path)

    pre = add(
        "pretrain", _pretrain, "train a small CLIP on captioned pictures into a folder that open_clip loads"
    )
    pre.add_argument("--out", type=Path, required=True)
    pre.add_argument(
        "--source", default="catalogue", help="catalogue, a picture folder, or a .jsonl/.csv/.tsv file"
    )
    pre.add_argument("--config", type=Path, help="an open_clip model configuration (default: the tiny one)")
    for option, kind, default in (
        ("pairs", int, 20000),
        ("epochs", int, 16),
        ("batch-size", int, 128),
        ("seed", int, 0),
    ):
        pre.add_argument(f"--{option}", type=kind, default=default, help="(default: %(default)s)")
    pre.add_argument("--lr", type=float, default=2e-3, help="(default: %(default)s)")
    return parser


def _runs(parser: argparse.ArgumentParser, default: str) -> None:
    parser.add_argument(
        "--out", type=Path, default=Path(default), help="folder of runs (default: %(default)s)"
    )


def _raw(rest: list[str]) -> dict[str, Any] | None:
    """The raw configuration of dotted options; None when help on a part was asked for and printed."""
    from clplat.config import help_on, parse_arguments

    for index, word in enumerate(rest):
        slot, _, tail = word.removeprefix("--").partition(".")
        if tail == "help" or tail.startswith("help="):
            name = tail.partition("=")[2] or (rest[index + 1] if index + 1 < len(rest) else "")
            print(help_on(slot, name))
            return None
    return parse_arguments(rest)


def _run(options: argparse.Namespace, rest: list[str]) -> int:
    raw = _raw(rest)
    if raw is None:
        return 0
    import yaml

    from clplat.config import resolve

    config = resolve(raw)
    if options.print_config:
        print(yaml.safe_dump(config, sort_keys=False), end="")
        return 0
    from clplat.experiment import default_folder, run
    from clplat.sweep import tracked
    from clplat.terminal import Terminal
    from clplat.tracking import Tracker, from_results, plain

    folder = options.out or default_folder(config)
    with Terminal() as terminal:
        tracker = None if options.no_track else Tracker(folder.parent, warn=terminal.say)
        listener = tracked(terminal.listener(config["strategy"]["name"]), tracker, folder)
        result = run(config, folder, listener=listener, checkpoint_every=options.checkpoint_every)
    print(plain(from_results([result])))
    print(f"result: {folder / 'result.json'}")
    return 0


def _sweep(options: argparse.Namespace, rest: list[str]) -> int:
    raw = _raw(rest)
    if raw is None:
        return 0
    if options.trials is not None:
        return _tune(options, raw)
    from clplat.sweep import compare

    seeds = [_whole(word, "--seeds") for word in options.seeds.split(",")]
    found = compare(raw, options.strategies.split(","), seeds, options.out, workers=options.workers)
    return _conclude(found, options.out)


def _tune(options: argparse.Namespace, raw: dict[str, Any]) -> int:
    from clplat.tracking import from_results, plain
    from clplat.tuning.study import tune

    tuned = tune(raw, options.search.split(","), options.trials, options.out)
    best = ", ".join(f"{key} {value}" for key, value in tuned.best.items())
    print(plain(from_results([tuned.result])))
    print(f"best of {tuned.trials} trials on val: {tuned.value:.2f} with {best}; on test as above")
    return 0


def _demo(options: argparse.Namespace, rest: list[str]) -> int:
    raw = _raw(rest)
    if raw is None:
        return 0
    from clplat.config import merge, read_config
    from clplat.sweep import DEFAULT_STRATEGIES, compare

    base = merge(read_config(Path(__file__).parent / "demo.yaml"), raw)
    found = compare(base, DEFAULT_STRATEGIES, [0], options.out, workers=options.workers, name="demo")
    return _conclude(found, options.out)


def _conclude(found: Any, out: Path) -> int:
    """Table, failures, the winner in a line, and the link to the same in MLflow."""
    from rich.console import Console

    from clplat.terminal import plain_output
    from clplat.tracking import from_results, links, plain, render, winner_line

    if found.results:
        rows = from_results(found.results)
        if plain_output():
            print(plain(rows))
        else:
            Console().print(render(rows))
        print(winner_line(rows))
    for label, reason in found.failures.items():
        print(f"failed: {label}: {reason}", file=sys.stderr)
    for name, link in links(out).items():
        print(f"{name}: {link}")
    print(f"(start the page with: clplat ui --out {out})")
    return 2 if found.failures else 0


def _whole(word: str, option: str) -> int:
    try:
        return int(word)
    except ValueError:
        raise UserError(f"{option} takes whole numbers by comma, not '{word}'") from None


def _compare(options: argparse.Namespace, rest: list[str]) -> int:
    from clplat.tracking import comparison, plain, winner_line

    rows = comparison(options.out, options.scenario)
    if not rows:
        raise UserError(f"no finished runs in {options.out}; run some, or log them with clplat track")
    print(plain(rows))
    print(winner_line(rows))
    return 0


def _ui(options: argparse.Namespace, rest: list[str]) -> int:
    from clplat.tracking import serve

    return serve(options.out, options.port)


def _list(options: argparse.Namespace, rest: list[str]) -> int:
    from clplat import registry

    found = registry.names(options.kind)
    width = max(len(name) for name in found)
    for name in found:
        print(f"{name:{width}}  {registry.describe(options.kind, name)}")
    return 0


def _search(options: argparse.Namespace, rest: list[str]) -> int:
    from clplat.files import write_atomically
    from clplat.search import find_run, search

    folder = find_run(options.run, options.out)
    found = search(
        folder,
        options.reference,
        options.text,
        domain=options.domain,
        k=options.k,
        version=options.model_version,
    )
    print(f"{'rank':>4}  {'cosine':>7}  picture")
    for rank, (picture, score) in enumerate(zip(found.pictures, found.scores, strict=True), start=1):
        print(f"{rank:4d}  {score:7.4f}  {picture.key}  {picture.caption or ''}".rstrip())
    write_atomically(options.grid, lambda path: found.grid.save(path, format="PNG"))
    print(f"grid: {options.grid}")
    return 0


def _track(options: argparse.Namespace, rest: list[str]) -> int:
    from clplat.files import read_json
    from clplat.tracking import log_result

    code = 0
    for folder in options.folders:
        run_id = log_result(read_json(folder / "result.json"), folder)
        print(f"{folder}: " + (f"run {run_id}" if run_id else "not logged"))
        code = code if run_id else 2
    return code


def _pretrain(options: argparse.Namespace, rest: list[str]) -> int:
    from clplat.pretrain import pretrain

    pretrain(
        options.out,
        source=options.source,
        pairs=options.pairs,
        epochs=options.epochs,
        batch_size=options.batch_size,
        lr=options.lr,
        config=options.config,
        seed=options.seed,
    )
    print(f"use it with: --backbone local-dir:{options.out}")
    return 0
