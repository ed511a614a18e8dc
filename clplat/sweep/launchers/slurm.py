"""Workers of a sweep as an array of SLURM jobs, by submitit; without SLURM as processes of this machine.

submitit leaves what a job is given in ``.slurm`` as a pickle, which whoever reads the folder can read. The
address of the storage, which may hold a password, is therefore handed on in the environment alone.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import submitit
from submitit.helpers import Checkpointable

from clplat.config.reading import read_yaml
from clplat.errors import UserError
from clplat.sweep.worker import run_unattended_worker
from clplat.sweep.worker_spec import WorkerSpec

__all__ = ["start"]

#: What `CLPLAT_SLURM` may override: a day per job; a job that is stopped then is queued again.
DEFAULTS = {"name": "clplat", "timeout_min": 24 * 60, "cpus_per_task": 4}
#: How often a stopped job is queued again.
REQUEUES = 100
#: In the environment of a job: the address of the storage.
STORAGE = "CLPLAT_STORAGE"
#: Seconds between two looks at the jobs; submitit asks SLURM itself less often.
POLL = 1.0


def start(spec: WorkerSpec, say: Callable[[str], None]) -> None:
    """Run jobs until nothing is left; their logs are in ``.slurm`` in the folder of the sweep.

    ``CLPLAT_SLURM`` names a YAML file with what a job needs, in the words of submitit (``slurm_partition``,
    ``timeout_min``, ``mem_gb``, ``cpus_per_task``, ``gpus_per_node``, ``slurm_setup``, ...); ``local`` starts
    processes here, as happens where there is no ``sbatch``.

    Raises:
        UserError: a file that cannot be read, a key or value that is refused, or no job could work.
    """
    setting = os.environ.get("CLPLAT_SLURM", "")
    slurm = setting != "local" and shutil.which("sbatch") is not None
    needs = (
        DEFAULTS
        | ({"gpus_per_node": 1} if spec.cuda else {})
        | (_read(Path(setting)) if setting not in ("", "local") else {})
    )
    logs = spec.out / ".slurm"
    if slurm:  # which gives each job its cores
        spec = replace(spec, threads=None)
    try:
        executor = submitit.AutoExecutor(
            folder=logs / "%j", cluster="slurm" if slurm else "local", slurm_max_num_timeout=REQUEUES
        )
        executor.update_parameters(**needs)
        with _in_environment(spec.storage):
            told = replace(spec, storage=spec.storage and STORAGE)
            jobs = executor.map_array(_Worker(), [told] * spec.workers)  # type: ignore[no-untyped-call]
    except (AssertionError, NameError, ValueError, RuntimeError) as error:
        raise UserError(f"SLURM cannot be used as CLPLAT_SLURM={setting} says: {_line(error)}") from error
    who = "jobs of SLURM" if slurm else "processes, as there is no SLURM here"
    say(f"{spec.workers} {who}; logs in {logs}")
    failed = 0
    try:
        for job in submitit.helpers.as_completed(jobs, poll_frequency=POLL):
            ended = job.exception()
            if ended is not None:
                failed += 1
                why = f"{_line(ended)} (log: {job.paths.stderr})"
                if failed == spec.workers:
                    raise UserError(f"no job of the sweep could work: {why}")
                say(f"job {job.job_id} failed, the others go on: {why}")
    except BaseException:  # Ctrl-C ends the sweep here as it does everywhere
        for job in jobs:
            job.cancel(check=False)
        raise


class _Worker(Checkpointable):
    """What a job runs; submitit queues it again where SLURM stops it or takes its node."""

    def __call__(self, spec: WorkerSpec) -> None:
        if spec.storage is not None:
            if STORAGE not in os.environ:
                raise UserError(
                    f"the job has no {STORAGE}, the address of the sweep's storage, in its environment: "
                    "submit with --export=ALL, SLURM's default, or set it in slurm_setup"
                )
            spec = replace(spec, storage=os.environ[STORAGE])
        run_unattended_worker(spec)


@contextmanager
def _in_environment(storage: str | None) -> Iterator[None]:
    """SLURM and submitit hand the environment of the submission on to the jobs."""
    before = os.environ.get(STORAGE)
    if storage is not None:
        os.environ[STORAGE] = storage
    try:
        yield
    finally:
        if storage is not None:
            del os.environ[STORAGE]
        if before is not None:
            os.environ[STORAGE] = before


def _read(path: Path) -> dict[str, Any]:
    try:
        needs = read_yaml(path, "the file")
    except UserError as error:
        raise UserError(f"CLPLAT_SLURM={path} cannot be read: {error}") from None
    if not isinstance(needs, dict):
        raise UserError(f"CLPLAT_SLURM={path} is no YAML mapping such as 'slurm_partition: gpu'")
    return needs


def _line(error: BaseException) -> str:
    """What an error says, in a line: the last one of a traceback."""
    text, _, trace = str(error).partition("Traceback")
    if trace:
        text = [line for line in trace.partition("\n---")[0].splitlines() if line.strip()][-1]
    return " ".join(text.replace("-" * 10, "").split())[:300]
