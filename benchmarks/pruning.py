"""When may a trial be stopped? Unpruned random trials on the catalogue, then every pruner on what they gave.

    python -m benchmarks.pruning FOLDER      # runs or goes on, half an hour on one core; then the table

Trials of four strategies (a random learning rate and random options each) run to the end of a stream of six
domains. From the mean over all domains after each experience follow the rank correlation with the final
value, and, for many random orders of the trials, what a study with a pruner would have found and spent.
Nothing here is timed: compute is counted in experiences trained.
"""

from __future__ import annotations

import math
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from clplat.files import read_json
from clplat.sweep import Budget, Sweep
from clplat.sweep.run import run_sweep

DOMAINS, TRIALS, DRAWS = 6, 12, 400

SWEEP = Sweep(
    name="pruning",
    question="After how many experiences does the mean over all domains tell which trial ends best?",
    base={
        "scenario": {"name": "catalogue", "domains": DOMAINS, "train": 240, "queries": 60, "gallery": 120},
        "adapter": {"name": "lora", "r": 8},
        "train": {"epochs": 2, "batch_size": 32},
    },
    methods=["naive", "replay", "ewc", "distill"],
    controls=[],
    tune=["strategy", "train.lr"],
    seeds=[0],
    orders=1,
    budget=Budget(trials=TRIALS),
    sampler="random",
    pruner="none",
)


def curves(out: Path) -> dict[str, list[list[float]]]:
    """Method -> one list per trial: mean over all domains after 1, 2, ... experiences."""
    found: dict[str, list[list[float]]] = {}
    for entry in SWEEP.entries():
        for path in sorted((out / "trials" / entry).glob("*/result.json")):
            result = read_json(path)
            if result["status"] == "complete":
                rows = result["metrics"][result["protocol"]["primary"]][1:]
                found.setdefault(entry, []).append([statistics.fmean(row) for row in rows])
    return found


def spearman(a: Sequence[float], b: Sequence[float]) -> float:
    """Rank correlation; ties by order, of which there are next to none."""
    ranks = [np.argsort(np.argsort(values)) for values in (a, b)]
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def study(trials: Sequence[Sequence[float]], least: int | None, factor: int = 2) -> tuple[float, int]:
    """(best final value, experiences trained) of a study that meets the trials in this order.

    Successive halving as Optuna's: at ``least``, ``least * factor``, ... experiences a trial goes on if it is
    among the first 1/factor of those that came so far. ``least`` None never prunes.
    """
    rungs = [] if least is None else _rungs(least, factor, len(trials[0]))
    known: dict[int, list[float]] = {rung: [] for rung in rungs}
    best, spent = -math.inf, 0
    for trial in trials:
        stopped = None
        for rung in rungs:
            known[rung].append(trial[rung - 1])
            place = sorted(known[rung], reverse=True).index(trial[rung - 1])
            if place >= max(1, len(known[rung]) // factor):
                stopped = rung
                break
        spent += stopped or len(trial)
        if stopped is None:
            best = max(best, trial[-1])
    return best, spent


def median_study(trials: Sequence[Sequence[float]], warm_up: int, first: int = 5) -> tuple[float, int]:
    """The same with Optuna's MedianPruner: stop below the median of earlier trials at the same experience."""
    best, spent = -math.inf, 0
    past: list[list[float]] = []
    for trial in trials:
        reached = len(trial)
        for step in range(warm_up + 1, len(trial)):
            others = [other[step - 1] for other in past if len(other) >= step]
            if len(past) >= first and others and max(trial[:step]) < statistics.median(others):
                reached = step
                break
        past.append(list(trial[:reached]))
        spent += reached
        if reached == len(trial):
            best = max(best, trial[-1])
    return best, spent


def _rungs(least: int, factor: int, length: int) -> list[int]:
    found = []
    while least < length:
        found.append(least)
        least *= factor
    return found


def table(found: dict[str, list[list[float]]]) -> str:
    """What every pruner loses and saves, in points and in percent of the experiences trained."""
    draw = np.random.default_rng(0)
    length = len(next(iter(found.values()))[0])
    lines = ["| experiences | " + " | ".join(str(e) for e in range(1, length)) + " |"]
    lines.append("|---" * length + "|")
    middle = [
        statistics.fmean(spearman([t[e] for t in ts], [t[-1] for t in ts]) for ts in found.values())
        for e in range(length - 1)
    ]
    lines += ["| Spearman with the end | " + " | ".join(f"{value:.2f}" for value in middle) + " |", ""]
    lines += ["| pruner | compute | best found, points below | worst method | missed the best |"]
    lines += ["|---|---|---|---|---|"]
    pruners = {"none": lambda ts: study(ts, None)}
    for least in range(1, length):
        pruners[f"halving from {least}"] = lambda ts, n=least: study(ts, n)
    for warm_up in (0, length // 2):
        pruners[f"median, {warm_up} free"] = lambda ts, n=warm_up: median_study(ts, n)
    for name, run in pruners.items():
        lost, share, missed = [], [], []
        worst = 0.0
        for trials in found.values():
            mine = []
            for _ in range(DRAWS):
                order = [trials[i] for i in draw.permutation(len(trials))]
                best, spent = run(order)
                mine.append(max(t[-1] for t in trials) - best)
                share.append(spent / (len(trials) * length))
            lost += mine
            worst = max(worst, statistics.fmean(mine))
            missed.append(statistics.fmean(loss > 0 for loss in mine))
        cells = [f"{100 * statistics.fmean(share):.0f} %", f"{statistics.fmean(lost):.2f}", f"{worst:.2f}"]
        lines.append(f"| {name} | " + " | ".join(cells) + f" | {100 * statistics.fmean(missed):.0f} % |")
    return "\n".join(lines)


def main() -> None:
    """Run what is missing, print the tables."""
    out = Path(sys.argv[1])
    run_sweep(SWEEP, out)
    print(table(curves(out)))


if __name__ == "__main__":
    main()
