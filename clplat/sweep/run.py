"""Run a sweep: lay it out, let workers do it, and put what came out where people look."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from clplat.errors import UserError, unknown_name
from clplat.events import Listener
from clplat.files import read_json, write_json, write_text
from clplat.runs.run_folder import RESULT
from clplat.sweep.launchers import LAUNCHERS, launch
from clplat.sweep.local import Task, run_local
from clplat.sweep.orders import Orders
from clplat.sweep.outcome import OUTCOME, collect
from clplat.sweep.plan import Sweep, read_sweep
from clplat.sweep.queue import Queue
from clplat.sweep.tracked import SweepTracker
from clplat.sweep.work import work_on
from clplat.terminal import Terminal

__all__ = ["PLAN", "gather", "run_sweep"]

PLAN = "sweep.yaml"


def run_sweep(
    sweep: Sweep,
    out: Path,
    *,
    workers: int = 1,
    storage: str | None = None,
    launcher: str = "local",
    track: bool = True,
    command: str = "",
) -> dict[str, Any]:
    """Run what is missing of a sweep and return its outcome.

    The same call goes on where an earlier one stopped, and several may run at once, on several machines, if
    they see the same folder and storage. Finished runs are never repeated, that of a killed process goes on
    from its checkpoint, and one that fails does not stop the others.

    Args:
        out: folder of the sweep: its runs, ``trials/``, ``sweep.json``, ``report.html``, and MLflow's store
            unless MLFLOW_TRACKING_URI says otherwise.
        workers: processes; the machine's cores are divided among them. One works here.
        storage: where the queue is, see `clplat.tuning.storage.open_storage`.
        launcher: who starts the workers: ``local``, ``ray`` or ``slurm``.
        track: log to MLflow.
        command: for the report: how it was called.

    Returns:
        The outcome, as in ``<out>/sweep.json`` (``docs/sweeps.md``).

    Raises:
        UserError: a wrong name or value anywhere, before anything runs; a storage that does not answer.
    """
    if launcher not in ("local", *LAUNCHERS):
        raise unknown_name("launcher", launcher, ["local", *LAUNCHERS])
    _refuse_foreign(out)
    orders = Orders(sweep.as_dict(), out, storage, secrets.token_hex(4), workers, track)
    queue = orders.queue()  # wrong names are told before a folder or a storage is touched
    layout = queue.layout
    with Terminal(len(layout.entries) * len(sweep.seeds)) as terminal:
        write_text(out / PLAN, yaml.safe_dump(sweep.as_dict(), sort_keys=False, allow_unicode=True))
        tracker = SweepTracker(layout, out, terminal.say) if track else None

        def listen(task: Task) -> Listener:
            shown = terminal.listener(task.label)
            return shown if tracker is None else tracker.listener(shown, task.folder, task.key, task.kind)

        if launcher != "local":
            launch(launcher, orders, terminal.say)
        elif workers == 1:
            work_on(queue, lambda work: listen(Task.of(work)))
        else:
            run_local(orders, listen, terminal.say)
        terminal.say("reading the results")
        return _conclude(queue, tracker, command, terminal.say)


def _refuse_foreign(out: Path) -> None:
    """A folder of something else is not filled with runs."""
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file; choose another --out")
    if (out / RESULT).exists():
        raise UserError(f"{out} holds one experiment, not a sweep; choose another --out")


def _conclude(
    queue: Queue, tracker: SweepTracker | None, command: str, say: Callable[[str], None]
) -> dict[str, Any]:
    """Write the outcome and everything that is drawn from it, and show it in MLflow."""
    from clplat.report import save_figure, write_report

    outcome = collect(queue, command)
    out = queue.out
    write_json(out / OUTCOME, outcome)
    files = [out / OUTCOME]
    if outcome["rows"]:
        figure = save_figure(out)
        files += [path for path in (figure, write_report(out)) if path is not None]
    if tracker is not None:
        folders = [folder for row in outcome["rows"] for folder in row["folders"]]
        results = {folder: read_json(out / folder / RESULT) for folder in folders}
        tracker.finish(outcome, results, files)
        champion = tracker.set_champion(outcome)
        if champion is not None:
            say(f"champion: clplat search --model models:/{champion}@champion --out {out} ...")
    return outcome


def gather(out: Path, storage: str | None = None) -> dict[str, Any]:
    """Read the outcome of a sweep anew, running or not, and write ``sweep.json``.

    Raises:
        UserError: there is no sweep in the folder.
    """
    if not (out / PLAN).exists():
        raise UserError(f"there is no sweep in {out}")
    queue = Orders(read_sweep(out / PLAN).as_dict(), out, storage, session="").queue()
    before = read_json(out / OUTCOME) if (out / OUTCOME).exists() else {}
    outcome = collect(queue, before.get("command", ""))
    write_json(out / OUTCOME, outcome)
    return outcome
