"""``clplat run``, ``derive``, ``demo`` and ``sweep``: experiments."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clplat.commands import (
    ALSO,
    NO_TRACK,
    TRUST,
    at_least,
    command,
    option,
    out,
    positive,
    print_table,
    workers,
)
from clplat.errors import UserError

if TYPE_CHECKING:
    from clplat.config.resolved import Config
    from clplat.sweep import Sweep


@command(
    option("--out", "folder of result and checkpoints (default: runs/<parts>)", type=Path),
    option(
        "--checkpoint-every N",
        "steps between checkpoints, 0 for none within an experience (default: 1 %% of the time goes to them)",
        type=at_least(0),
    ),
    NO_TRACK,
    ALSO,
    option("--print-config", "print the whole configuration and stop", action="store_true"),
    parts=True,
)
def run(options: Namespace) -> int:
    """run one experiment, or go on with an interrupted one"""
    from clplat.config.resolve import resolve

    config = resolve(options.raw)
    if options.print_config:
        from clplat.config.reading import write_yaml

        print(write_yaml(config.as_dict()), end="")
        return 0
    from clplat.runs.run_folder import default_folder, result_at_hand
    from clplat.tables.comparison import plain
    from clplat.tables.further_sets import further_sets
    from clplat.tracking import from_results, is_logged

    folder = options.out or default_folder(config)
    result = result_at_hand(folder, config)
    if result is None or options.also is not None or not (options.no_track or is_logged(folder)):
        result = _result(config, folder, options)
    print(plain(from_results([result])))
    if further := further_sets(result):
        print(f"\n{further}\n")
    print(f"result: {folder / 'result.json'}")
    return 0


def _result(config: Config, folder: Path, options: Namespace) -> dict[str, Any]:
    """Run an experiment, or what is left of it, before everybody who listens."""
    from clplat.runs.early import refuse_early
    from clplat.terminal import Terminal
    from clplat.tracking import Tracker
    from clplat.tracking.listeners import AlsoListener, writers
    from clplat.tracking.tracker import TrackedRun

    refuse_early(config)
    with Terminal() as terminal:
        tracker = None if options.no_track else Tracker(folder.parent, warn=terminal.say)
        if tracker is not None:
            tracker.start_background()  # while we load torch
        from clplat.runs.experiment import run as run_experiment

        shown = terminal.listener(config.name("strategy"))
        to = [] if tracker is None else [TrackedRun(tracker, folder)]
        listener = AlsoListener(shown, [*to, *writers(options.also, folder)])
        result = run_experiment(config, folder, listener=listener, checkpoint_every=options.checkpoint_every)
        if tracker is not None:
            tracker.close()
    return result


@command(
    option("runs RUN", "folder of a finished run", nargs="+", type=Path),
    option("--out", "folder of the derived runs (default: that of each run)", type=Path),
    NO_TRACK,
    TRUST,
    parts=True,
)
def derive(options: Namespace) -> int:
    """merge the model versions of finished runs without training, once for each value of an option"""
    from clplat.documents.result import read_result
    from clplat.runs.derive import derivations
    from clplat.runs.derive import derive as derive_run
    from clplat.tables.comparison import plain
    from clplat.terminal import Terminal
    from clplat.tracking import Tracker, from_results
    from clplat.tracking.listeners import AlsoListener
    from clplat.tracking.log_state import locked_state
    from clplat.tracking.tracker import TrackedRun

    wanted = [one for run in options.runs for one in derivations(run, options.raw, options.out)]
    results = [read_result(run / "result.json") for run in options.runs]
    with Terminal() as terminal:
        for one in wanted:
            tracker = None
            if not options.no_track:
                with locked_state(one.source) as state:  # the run in MLflow that this one is a child of
                    above = state.run_id
                tracker = Tracker(one.folder.parent, warn=terminal.say, parent_run_id=above)
            shown = terminal.listener(one.folder.name)
            to = [] if tracker is None else [TrackedRun(tracker, one.folder)]
            listener = AlsoListener(shown, to)
            results.append(derive_run(one, listener))
            if tracker is not None:
                tracker.close()
    print(plain(from_results(results)))
    return 0


@command(out("runs/demo"), workers(min(2, os.cpu_count() or 1)), NO_TRACK, ALSO, parts=True)
def demo(options: Namespace) -> int:
    """compare seven strategies on five domains, in about three minutes"""
    from clplat.config.raw import merge, read_config
    from clplat.sweep import Sweep
    from clplat.sweep.flags import refuse_named

    for name in ("strategy", "seed"):
        instead = "the demo compares seven strategies with seed 0; clplat sweep takes others"
        refuse_named(options.raw, name, instead)
    base = merge(read_config(Path(__file__).parents[1] / "demo.yaml"), options.raw)
    question = "Seven strategies on a short stream, one seed each: what does a comparison look like?"
    options.storage, options.launcher, options.anew = None, "local", False
    return _swept(Sweep(name="demo", question=question, base=base, seeds=[0], orders=1), options)


@command(
    out("runs/sweep"),
    workers(1),
    NO_TRACK,
    ALSO,
    option("--plan FILE", "a sweep in YAML; the other options lie on top of it", type=Path),
    option("--strategies NAMES", "what is compared, by comma (default: the seven of the demo)"),
    option("--recipes NAMES", "published systems to compare instead, by comma"),
    option("--seeds NUMBERS", "of the final runs, by comma (default: 0,1,2)"),
    option("--orders N", "stream orders, at most one per seed (default: one each)", type=at_least(1)),
    option("--controls NAMES", "never tuned, by comma (default: frozen,cumulative)"),
    option("--trials N", "tune each strategy with N Optuna trials", type=at_least(1)),
    option("--seconds S", "tune each strategy for S seconds", type=positive),
    option("--tflops N", "tune each strategy with N TFLOPs of training", type=positive),
    option("--tune NAMES", "slots or options to tune, by comma (default: strategy,train.lr)"),
    option("--search", "the older name of --tune", dest="tune"),
    option(
        "--space KEY=SPACE",
        "search space of an option: 'train.lr={low: 1e-5, high: 1e-2, log: true}', 'adapter.r=[4, 8]'",
        action="append",
    ),
    option("--objective NAMES", "what tuning improves, several by comma (default: final)"),
    option(
        "--constraint LIMIT", "what a setting must meet: 'forgetting<=5', 'zero_shot>=80'", action="append"
    ),
    option("--sampler NAME", "tpe, random, gp, cmaes, nsga2, nsga3, qmc (default: tpe)"),
    option("--pruner NAME", "halving or none (default: halving)"),
    option("--storage ADDRESS", "postgresql://... or grpc://host:port (default: a file in --out)"),
    option(
        "--launcher NAME",
        "what starts the workers: local, ray (extra [ray]), slurm (extra [slurm])",
        default="local",
    ),
    option("--anew", "begin anew what --out holds of another configuration", action="store_true"),
    option("--repair", "make the damaged studies.journal in --out anew, and stop", action="store_true"),
    parts=True,
)
def sweep(options: Namespace) -> int:
    """methods x seeds x stream orders, each tuned first where there is a budget"""
    if options.repair:
        from clplat.sweep.repair import repair

        if options.storage is not None:
            raise UserError("--repair is for the journal in --out, not for --storage")
        print("\n".join(repair(options.out)))
        return 0
    from clplat.sweep.flags import from_flags

    return _swept(from_flags(options, options.raw, options.start), options)


def _swept(sweep: Sweep, options: Namespace) -> int:
    """Run a sweep and show it: table, what is significant, failures, the report and the links into MLflow."""
    from clplat.addresses import without_password
    from clplat.sweep.run import run_sweep
    from clplat.tables.sweep import sweep_table
    from clplat.tracking import links, tracking_uri
    from clplat.tracking.also_sweep import AlsoSweep
    from clplat.tracking.sweeps import SweepTracker

    storage, said = options.storage, options.said
    tracker = None if options.no_track else SweepTracker
    outcome = run_sweep(
        sweep,
        options.out,
        workers=options.workers,
        storage=storage,
        launcher=options.launcher,
        tracker=tracker if options.also is None else AlsoSweep(options.also, tracker),
        anew=options.anew,
        command=said if storage is None else said.replace(storage, without_password(storage)),
    )
    if outcome["rows"]:
        head, body, words = sweep_table(outcome)
        chance = [""] * (len(body) - len(outcome["rows"]))  # has no colour
        print_table(head, body, words, *(row["strategy"] for row in outcome["rows"]), *chance)
        print(outcome["sentence"])
        print(f"report: {options.out / 'report.html'}")
    for failure in outcome["failures"]:
        print(f"clplat: {failure['label']}: {' '.join(failure['why'].split())}", file=sys.stderr)
    if not options.no_track:
        if tracking_uri(options.out).startswith("http"):  # a server is there: its links work now
            for name, link in links(options.out).items():
                print(f"{name}: {link}")
        else:
            print(f"in MLflow: clplat ui --open --out {options.out}")
    return 2 if outcome["failures"] else 0
