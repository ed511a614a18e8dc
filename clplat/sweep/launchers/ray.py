"""Workers of a sweep as tasks of Ray: on the cluster at ``RAY_ADDRESS``, else on this machine alone."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from clplat.errors import UserError
from clplat.sweep.queue import DEATHS
from clplat.sweep.worker import run_unattended_worker
from clplat.sweep.worker_spec import WorkerSpec

__all__ = ["start"]

#: For a Ray that we start: quiet, every line shown, no telemetry, nothing listening on the network.
OURS = {
    "RAY_COLOR_PREFIX": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
}


def start(spec: WorkerSpec, say: Callable[[str], None]) -> None:
    """Run tasks until nothing is left; each has a CPU, and a GPU where the device is ``cuda``.

    Raises:
        UserError: no cluster answers at ``RAY_ADDRESS``, it has no GPU for ``cuda``, or no worker could work.
    """
    address = os.environ.get("RAY_ADDRESS", "local")
    own: dict[str, Any] = {}
    if address == "local":
        own = {"num_cpus": spec.workers, "include_dashboard": False}
        # Ray reads these when it is imported.
        os.environ.update({key: value for key, value in OURS.items() if key not in os.environ})
    import ray

    if not own:  # the cluster knows its machines
        spec = replace(spec, threads=None)
    passed = {key: value for key, value in os.environ.items() if key.startswith(("CLPLAT_", "MLFLOW_"))}
    failed = 0
    try:
        ray.init(address=address, logging_level=logging.ERROR, **own)
    except (OSError, RuntimeError, ValueError) as error:
        why = " ".join(str(error).split())[:200]
        raise UserError(f"there is no Ray cluster at RAY_ADDRESS={address}: {why}") from error
    try:
        if spec.cuda and "GPU" not in ray.cluster_resources():
            # Ray itself would wait without end.
            raise UserError(f"the device is cuda, but the Ray cluster ({address}) has no GPU")
        # A killed worker is started anew; its job goes back to the queue.
        task = ray.remote(num_cpus=1, num_gpus=int(spec.cuda), max_retries=DEATHS)(worker)
        waiting = [task.remote(os.getcwd(), passed, spec) for _ in range(spec.workers)]
        while waiting:
            (ended, *_), waiting = ray.wait(waiting)
            try:
                ray.get(ended)
            except ray.exceptions.RayError as error:
                failed += 1
                why = " ".join(str(getattr(error, "cause", None) or error).split())
                if failed == spec.workers:
                    raise UserError(f"no worker of the sweep could work: {why}") from error
                say(f"a worker failed, the others go on: {why}")
    finally:
        ray.shutdown()


def worker(folder: str, environment: dict[str, str], spec: WorkerSpec) -> None:
    """What a task runs, on any machine."""
    if Path(folder).is_dir():  # paths in the sweep may be relative
        os.chdir(folder)
    os.environ.update(environment)
    run_unattended_worker(spec)
