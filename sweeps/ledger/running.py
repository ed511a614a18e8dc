"""What is left to run of systems on streams, and the command line of the scripts that run it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from clplat.errors import UserError
from sweeps.ledger.jobs import Job, Stream, jobs_of, laid_out, state_of
from sweeps.ledger.systems import System
from sweeps.ledger.workers import work_through

__all__ = ["LIMIT", "SEEDS", "chosen_streams", "exit_code", "left", "options_of_a_run", "run_left"]

#: Seconds after which a run is given up; the longest needs a tenth of it.
LIMIT = 1800.0
SEEDS = (0, 1, 2)


def options_of_a_run(about: str, out: str) -> argparse.ArgumentParser:
    """The options that all such scripts have."""
    parser = argparse.ArgumentParser(description=about.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path(out), help="folder of the runs")
    parser.add_argument("--workers", type=int, default=2, help="processes of one thread each")
    parser.add_argument("--streams", default="", help="by comma; all unless given")
    parser.add_argument("--systems", default="", help="by comma, beside the baselines; all unless given")
    return parser


def chosen_streams(streams: Sequence[Stream], names: str) -> list[Stream]:
    """The streams of these names; all for ``""``."""
    return [one for one in streams if not names or one.name in names.split(",")]


def left(
    streams: Sequence[Stream], measured: Sequence[System], out: Path, seeds: Sequence[int]
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


def run_left(
    streams: Sequence[Stream], measured: Sequence[System], out: Path, seeds: Sequence[int], workers: int
) -> None:
    """Do what is left, and say so line by line."""
    jobs = list(left(streams, measured, out, seeds))
    print(f"{len(measured)} systems, {len(jobs)} runs to do", flush=True)
    work_through(jobs, workers, LIMIT, lambda line: print(line, flush=True))


def exit_code(script: str, work: Callable[[], object]) -> int:
    """Do it: 0, or 2 after a line that says what the user got wrong."""
    try:
        work()
    except UserError as error:
        print(f"{script}: {error}", file=sys.stderr)
        return 2
    return 0
