"""What does every continual system keep and learn, at equal budget?

Every recipe about a stream of domains, on the small catalogue and on photographs of products, with the same
triplets, epochs and batches, three seeds and two stream orders, beside frozen, naive, replay and cumulative.
Each is compared with its naive twin: the same parts, plainly trained, at the rate of what is trained.

    clplat pretrain --preset small --source products --out models/products  # needs data/products
    python sweeps/every_system.py --out runs/every-system --workers 2
    python sweeps/every_system.py --out runs/every-system --publish

Run the same command again after a stop, or when systems have landed: what is complete, and of the same
configuration and parts, is not run again. A system that fails is a line that says so. An hour and a half on
two idle cores for both streams. `--publish` writes results/ledger/, figures and docs/ledger.md from it;
`--page` writes docs/ledger.md alone, from results/ledger/ and sweeps/ledger/reasons.yaml. `--rates` measures
which learning rates suit what is trained on a stream (`sweeps/ledger/study.py`, ten minutes of a core each).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from clplat.config.recipes import recipe
from clplat.errors import UserError
from clplat.sweep.layout import permuted
from sweeps.ledger import study
from sweeps.ledger.jobs import Job, Stream, jobs_of, laid_out, state_of
from sweeps.ledger.page import ROOT, publish, write_page
from sweeps.ledger.rates import RATES
from sweeps.ledger.rows import entry_of
from sweeps.ledger.systems import System, systems
from sweeps.ledger.workers import work_through

SEEDS = (0, 1, 2)
ORDERS = 2
#: Seconds after which a run is given up; the longest needs a tenth of it.
LIMIT = 1800.0


def _orders(names: Sequence[str]) -> list[list[str]]:
    return [order or list(names) for order in permuted(names, ORDERS)]


STREAMS = (
    Stream(
        "catalogue",
        "three drawn domains of the catalogue, 192 training triplets each; the shipped CLIP `clplat-tiny`",
        {
            "scenario": {"name": "catalogue", "domains": 3, "train": 192, "queries": 100, "gallery": 120},
            "train": {"epochs": 3},
        },
        _orders(["dress-studio", "top-sketch", "shoe-textured"]),
        rates=RATES["catalogue"],
    ),
    Stream(
        "products",
        "photographs of a shop, three domains with 192 training triplets each in one gallery of 300; a small "
        "CLIP that has seen the training products with their captions and no query; of a tower that is "
        "trained as a whole its last two blocks",
        {
            "backbone": "local-dir:models/products",
            "scenario": {
                **recipe("products").config["scenario"],
                "order": ["Topwear", "Shoes", "Watches"],
                "train": 192,
                "queries": 100,
                "gallery": 300,
                "negatives": 0,
            },
            "adapter": {"name": "full", "last": 2},
            "sampler": "shuffled",
            "train": {"epochs": 3},
        },
        _orders(["Topwear", "Shoes", "Watches"]),
        {"domains": "all"},  # which share one gallery
        RATES["products"],
    ),
)


def chosen(names: str) -> list[System]:
    """The systems of these names, with the baselines and what they are compared with; all for ``""``."""
    every = {name: system for system in systems() for name in (system.name, *system.same)}
    wanted = {name.strip() for name in names.split(",") if name.strip()}
    if unknown := wanted - every.keys():
        raise UserError(f"no system of the ledger is called '{min(unknown)}' (allowed: {', '.join(every)})")
    needed = {name for one in wanted for name in (every[one].name, every[one].against)}
    return [one for one in systems() if not wanted or one.kind == "baseline" or one.name in needed]


def left(
    streams: Sequence[Stream], measured: Sequence[System], out: Path, seeds: Sequence[int] = SEEDS
) -> Iterator[Job]:
    """The jobs that are not complete: stream by stream, and there seed by seed."""
    for stream in streams:
        jobs = []
        for system in measured:
            try:
                layout, finals = laid_out(stream, system, seeds)
                jobs.append(jobs_of(layout, finals, out / stream.name))
            except UserError as error:
                print(f"{stream.name} {system.name} cannot be laid out: {error}", flush=True)
        for replicate in zip(*jobs, strict=True):
            yield from (job for job in replicate if state_of(job)["state"] != "complete")


def main(words: Sequence[str] | None = None) -> int:
    """Run what is missing, or publish what is there."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("runs/every-system"), help="folder of the runs")
    parser.add_argument("--workers", type=int, default=2, help="processes of one thread each")
    parser.add_argument("--streams", default="", help="by comma; all unless given")
    parser.add_argument("--systems", default="", help="by comma, beside the baselines; all unless given")
    parser.add_argument(
        "--publish", action="store_true", help="write results/ledger/, figures and docs/ledger.md"
    )
    parser.add_argument("--page", action="store_true", help="write docs/ledger.md alone, without runs")
    parser.add_argument("--rates", action="store_true", help="measure learning rates, results/ledger/rates/")
    options = parser.parse_args(words)
    if options.page:
        write_page()
        return 0
    streams = [one for one in STREAMS if not options.streams or one.name in options.streams.split(",")]
    try:
        if options.rates:
            for one in streams:
                _run([study.held_out(one)], study.tried(one.name), options, study.SEEDS)
                study.write_study(one, options.out, ROOT)
            return 0
        measured = chosen(options.systems)
        if options.publish:
            publish([entry_of(one, measured, SEEDS, options.out) for one in streams])
        else:
            _run(streams, measured, options, SEEDS)
    except UserError as error:
        print(f"every_system: {error}", file=sys.stderr)
        return 2
    return 0


def _run(
    streams: Sequence[Stream], measured: Sequence[System], options: argparse.Namespace, seeds: Sequence[int]
) -> None:
    jobs = list(left(streams, measured, options.out, seeds))
    print(f"{len(measured)} systems, {len(jobs)} runs to do", flush=True)
    work_through(jobs, options.workers, LIMIT, lambda line: print(line, flush=True))


if __name__ == "__main__":
    sys.exit(main())
