"""``clplat sweep``, ``demo`` and ``report``: comparisons, and their page."""

from __future__ import annotations

import os
import sys
from argparse import SUPPRESS, ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clplat.commands.options import add_out, add_workers, at_least, raw_of

if TYPE_CHECKING:
    from clplat.sweep import Sweep

__all__ = ["add_demo", "add_report", "add_sweep", "demo", "report", "sweep"]


def add_sweep(parser: ArgumentParser) -> None:
    """The options of a sweep that are no options of parts; see `clplat.sweep.plan.Sweep`."""
    add_out(parser, "runs/sweep")
    add_workers(parser, 1)

    def option(name: str, text: str, **more: Any) -> None:
        parser.add_argument(f"--{name}", help=text, **more)

    option("plan", "a sweep in YAML; the other options lie on top of it", type=Path, metavar="FILE")
    option("strategies", "what is compared, by comma (default: the seven of the demo)", metavar="NAMES")
    option("recipes", "published systems to compare instead, by comma", metavar="NAMES")
    option("seeds", "of the final runs, by comma (default: 0,1,2)", metavar="NUMBERS")
    option("orders", "stream orders, at most one per seed (default: one each)", type=at_least(1), metavar="N")
    option("controls", "never tuned, by comma (default: frozen,cumulative)", metavar="NAMES")
    option("trials", "tune each strategy with N Optuna trials", type=at_least(1), metavar="N")
    option("seconds", "tune each strategy for S seconds", type=float, metavar="S")
    option("tflops", "tune each strategy with N TFLOPs of training", type=float, metavar="N")
    option("tune", "slots or options to tune, by comma (default: strategy,train.lr)", metavar="NAMES")
    option("search", SUPPRESS, dest="tune")  # its older name
    text = "search space of an option: 'train.lr={low: 1e-5, high: 1e-2, log: true}', 'adapter.r=[4, 8]'"
    option("space", text, action="append", metavar="KEY=SPACE")
    option("objective", "what tuning improves, several by comma (default: final)", metavar="NAMES")
    text = "what a setting must meet: 'forgetting<=5', 'zero_shot>=80'"
    option("constraint", text, action="append", metavar="LIMIT")
    option("sampler", "tpe, random, gp, cmaes, nsga2, nsga3, qmc (default: tpe)", metavar="NAME")
    option("pruner", "halving or none (default: halving)", metavar="NAME")
    option("storage", "postgresql://... or grpc://host:port (default: a file in --out)", metavar="ADDRESS")
    text = "what starts the workers: local, ray (extra [ray]), slurm (extra [slurm]) (default: %(default)s)"
    option("launcher", text, default="local", metavar="NAME")


def sweep(options: Namespace, rest: list[str]) -> int:
    """Methods x seeds x stream orders, each method tuned first where there is a budget for it."""
    raw = raw_of(options, rest)
    if raw is None:
        return 0
    from clplat.sweep.flags import from_flags

    return _swept(from_flags(options, raw, options.start), options)


def add_demo(parser: ArgumentParser) -> None:
    """The options of ``clplat demo``."""
    add_out(parser, "runs/demo")
    add_workers(parser, min(2, os.cpu_count() or 1))


def demo(options: Namespace, rest: list[str]) -> int:
    """The comparison that needs nothing but this package."""
    raw = raw_of(options, rest)
    if raw is None:
        return 0
    from clplat.config.raw import merge, read_config
    from clplat.sweep import Sweep
    from clplat.sweep.flags import refuse_named

    instead = "the demo compares seven strategies with seed 0; clplat sweep takes others"
    refuse_named(raw, "strategy", instead)
    refuse_named(raw, "seed", instead)
    base = merge(read_config(Path(__file__).parents[1] / "demo.yaml"), raw)
    question = "Seven strategies on a short stream, one seed each: what does a comparison look like?"
    return _swept(Sweep(name="demo", question=question, base=base, seeds=[0], orders=1), options)


def _swept(sweep: Sweep, options: Namespace) -> int:
    """Run a sweep and show it: table, what is significant, failures, the report and the links into MLflow."""
    from rich.console import Console

    from clplat.sweep.run import run_sweep
    from clplat.tables.sweep import sweep_table
    from clplat.tables.text import aligned, coloured
    from clplat.terminal import plain_output
    from clplat.tracking import links
    from clplat.tracking.sweeps import SweepTracker
    from clplat.tuning.storage import without_password

    storage, said = getattr(options, "storage", None), options.said
    outcome = run_sweep(
        sweep,
        options.out,
        workers=options.workers,
        storage=storage,
        launcher=getattr(options, "launcher", "local"),
        tracker=None if options.no_track else SweepTracker,
        command=said if storage is None else said.replace(storage, without_password(storage)),
    )
    if outcome["rows"]:
        table = sweep_table(outcome)
        if plain_output():
            print(aligned(*table))
        else:
            Console().print(coloured(*table, [row["strategy"] for row in outcome["rows"]]))
        print(outcome["sentence"])
        print(f"report: {options.out / 'report.html'}")
    for failure in outcome["failures"]:
        print(f"clplat: {failure['label']}: {' '.join(failure['why'].split())}", file=sys.stderr)
    if not options.no_track:
        for name, link in links(options.out).items():
            print(f"{name}: {link}")
        print(f"(start the page with: clplat ui --out {options.out})")
    return 2 if outcome["failures"] else 0


def add_report(parser: ArgumentParser) -> None:
    """The options of ``clplat report``."""
    parser.add_argument("out", type=Path, metavar="OUT", help="folder of the sweep")
    parser.add_argument("--storage", metavar="ADDRESS", help="where its studies are (default: in the folder)")


def report(options: Namespace, rest: list[str]) -> int:
    """The report of a sweep, read anew from its runs."""
    from clplat.report import save_figure, write_report
    from clplat.sweep.run import PLAN, gather

    if (options.out / PLAN).exists():
        gather(options.out, options.storage)
    save_figure(options.out)
    print(write_report(options.out))
    return 0
