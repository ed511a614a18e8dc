"""Run a sweep: lay it out, let workers do it, and write down what came out."""

from __future__ import annotations

import secrets
from contextlib import suppress
from pathlib import Path
from typing import Any

from clplat.config.reading import write_yaml
from clplat.documents.outcome import read_outcome
from clplat.dotted import registered_only
from clplat.errors import UserError, unknown_name
from clplat.files import read_text, write_json, write_text
from clplat.runs.run_folder import RESULT
from clplat.sweep.alike import keep_alike_once
from clplat.sweep.launchers import LAUNCHERS, launch
from clplat.sweep.layout import Layout
from clplat.sweep.local import run_local
from clplat.sweep.outcome import OUTCOME, collect
from clplat.sweep.plan import Sweep, read_sweep
from clplat.sweep.queue import Queue
from clplat.sweep.reuse import check_reuse
from clplat.sweep.studies import Studies
from clplat.sweep.worker import listening, run_worker
from clplat.sweep.worker_spec import (
    SweepListener,
    SweepListenerFactory,
    WorkerSpec,
    cores,
    threads_per_worker,
)
from clplat.terminal import Terminal
from clplat.tuning.samplers import check_sampler, make_sampler

__all__ = ["PLAN", "gather", "recorded_plan", "run_sweep"]

PLAN = "sweep.yaml"
#: Workers of one call, where an engine starts them on other machines.
MOST_JOBS = 4096


def run_sweep(
    sweep: Sweep,
    out: Path,
    *,
    workers: int = 1,
    storage: str | None = None,
    launcher: str = "local",
    tracker: SweepListenerFactory | None = None,
    command: str = "",
    anew: bool = False,
) -> dict[str, Any]:
    """Run what is missing of a sweep and return its outcome.

    The same call goes on where an earlier one stopped, and several may run at once, on several machines, if
    they see the same folder and storage. Finished runs are never repeated, that of a killed process goes on
    from its checkpoint, and one that fails does not stop the others.

    Args:
        out: folder of the sweep: its runs, ``trials/``, ``sweep.json``, ``report.html``.
        workers: processes; the machine's cores are divided among them. One works here.
        storage: where the queue is, see `clplat.tuning.storage.open_storage`.
        launcher: what starts the workers: ``local``, ``ray`` or ``slurm``.
        tracker: `clplat.tracking.sweeps.SweepTracker` to log to MLflow, whose store is in ``out`` unless
            MLFLOW_TRACKING_URI says otherwise.
        command: for the report: how it was called.
        anew: begin studies and runs in ``out`` anew that are of another configuration, which is an error
            otherwise; the old ones move to ``replaced/``.

    Returns:
        The outcome, as in ``<out>/sweep.json`` (``docs/sweeps.md``).

    Raises:
        UserError: a wrong name or value anywhere, before anything runs; a storage that does not answer.
    """
    _check(launcher, workers, out)
    plan = sweep.as_dict()
    spec = WorkerSpec(
        read_sweep(plan), out, storage, secrets.token_hex(4), workers, threads_per_worker(workers), tracker
    )
    queue = spec.queue()  # wrong names are found before a folder or a storage is touched
    layout = queue.layout
    _check_plan(layout)
    moved = check_reuse(queue.studies, anew)
    with Terminal(layout.jobs) as terminal:
        for line in moved:
            terminal.say(line)
        write_text(out / PLAN, write_yaml(plan), comment="#")
        tracked = _work(spec, queue, launcher, terminal)
        terminal.say("reading the results")
        return _conclude(queue.studies, tracked, command)


def _check(launcher: str, workers: int, out: Path) -> None:
    """A wrong name or number is told at once, and a folder of something else is not filled with runs."""
    most = MOST_JOBS if launcher in LAUNCHERS else max(16, 4 * cores())
    if not 1 <= workers <= most:
        where = (
            f"on this machine, which has {cores()} cores" if launcher not in LAUNCHERS else "by a launcher"
        )
        raise UserError(f"--workers takes 1 to {most} {where}, not {workers}")
    if launcher not in ("local", *LAUNCHERS):
        raise unknown_name("launcher", launcher, ["local", *LAUNCHERS])
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file; choose another --out")
    if (out / RESULT).exists():
        raise UserError(f"{out} holds one experiment, not a sweep; choose another --out")


def _check_plan(layout: Layout) -> None:
    """What is used late fails before anything runs: orders of the stream, the sampler."""
    sweep = layout.sweep
    layout.check_orders()
    if layout.studies:
        sampler = make_sampler(sweep.sampler, sweep.seeds[0], 0)
        spaces = [entry.space for entry in layout.studies]
        check_sampler(sampler, sweep.sampler, len(sweep.objectives), spaces)


def _work(spec: WorkerSpec, queue: Queue, launcher: str, terminal: Terminal) -> SweepListener | None:
    """Let the workers do what is missing; who listened to them, if anybody did."""
    tracked = None if spec.tracker is None else spec.tracker(queue.layout, spec.out, terminal.say)
    if launcher != "local":
        launch(launcher, spec, terminal.say)
    elif spec.workers == 1:
        run_worker(queue, listening(terminal, tracked))
    else:
        run_local(spec, listening(terminal, tracked), terminal.say)
    return tracked


def _conclude(studies: Studies, tracked: SweepListener | None, command: str) -> dict[str, Any]:
    """Write the outcome and everything that is drawn from it."""
    from clplat.report import save_figure, write_report

    outcome, out = _collected(studies, command), studies.out
    drawn = []
    try:
        drawn = [save_figure(out)] if outcome["rows"] else []
    except UserError as error:  # which metrics there are is known now: the rows stand without a picture
        failure = {"label": "figure", "folder": "", "why": str(error)}
        outcome |= {"figure": None, "failures": [*outcome["failures"], failure]}
        write_json(out / OUTCOME, outcome)
    if outcome["rows"]:
        drawn.append(write_report(out))
    if tracked is not None:
        tracked.finish(outcome, [out / OUTCOME, *filter(None, drawn)])
    if outcome["status"] == "complete":
        keep_alike_once(out)
    return outcome


def gather(out: Path, storage: str | None = None) -> dict[str, Any]:
    """Read the outcome of a sweep anew, running or not, and write ``sweep.json``.

    Raises:
        UserError: there is no sweep in the folder.
    """
    if not (out / PLAN).exists():
        raise UserError(f"there is no sweep in {out}")
    read_text(out / PLAN)  # where it is damaged, that is an error
    with registered_only(str(out / PLAN)):
        studies = WorkerSpec(recorded_plan(out), out, storage).queue().studies
    before = {}
    with suppress(UserError):  # it is written anew
        before = read_outcome(out)
    return _collected(studies, before.get("command", ""))


def recorded_plan(out: Path) -> Sweep:
    """The sweep that a folder is of.

    Raises:
        UserError: its description is missing, damaged, or none.
    """
    read_text(out / PLAN)  # where it is damaged, that is an error
    return read_sweep(out / PLAN)


def _collected(studies: Studies, command: str) -> dict[str, Any]:
    outcome = collect(studies, command)
    write_json(studies.out / OUTCOME, outcome)
    return outcome
