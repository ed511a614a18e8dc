"""Workers of a sweep as tasks of Ray: on the cluster at ``RAY_ADDRESS``, else on this machine alone."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from clplat.errors import UserError
from clplat.sweep.local import threads_for
from clplat.sweep.queue import DEATHS
from clplat.sweep.remote import serve

__all__ = ["start"]

#: For a Ray that is ours: quiet, every line shown, nothing sent home, nothing listening on the network.
OURS = {
    "RAY_COLOR_PREFIX": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
}


def start(
    sweep: dict[str, Any],
    out: Path,
    storage: str | None,
    session: str,
    workers: int,
    track: bool,
    say: Callable[[str], None],
) -> None:
    """Run ``workers`` tasks until nothing is left; each has a CPU, and a GPU where the device is ``cuda``.

    Raises:
        UserError: no cluster answers at ``RAY_ADDRESS``, it has no GPU for ``cuda``, or no worker could work.
    """
    address = os.environ.get("RAY_ADDRESS", "local")
    own: dict[str, Any] = {"num_cpus": workers, "include_dashboard": False} if address == "local" else {}
    if own:  # Ray reads these when it is imported
        os.environ.update({key: value for key, value in OURS.items() if key not in os.environ})
    import ray

    cuda = str(sweep["base"].get("device", "")).startswith("cuda")
    threads = threads_for(workers) if own else None
    given = (sweep, str(out.resolve()), storage, session, track, threads)
    passed = {key: value for key, value in os.environ.items() if key.startswith(("CLPLAT_", "MLFLOW_"))}
    failed = 0
    try:
        ray.init(address=address, logging_level=logging.ERROR, **own)
    except (OSError, RuntimeError, ValueError) as error:
        why = " ".join(str(error).split())[:200]
        raise UserError(f"there is no Ray cluster at RAY_ADDRESS={address}: {why}") from error
    try:
        if cuda and "GPU" not in ray.cluster_resources():  # type: ignore[no-untyped-call]
            raise UserError(
                f"the device is cuda, but the Ray cluster ({address}) has no GPU"
            )  # no endless wait
        # A killed worker is started anew; what it was at goes back to the queue.
        task = ray.remote(num_cpus=1, num_gpus=int(cuda), max_retries=DEATHS)(worker)
        waiting = [task.remote(os.getcwd(), passed, given) for _ in range(workers)]
        while waiting:
            (ended, *_), waiting = ray.wait(waiting)
            try:
                ray.get(ended)
            except ray.exceptions.RayError as error:
                failed += 1
                why = " ".join(str(getattr(error, "cause", None) or error).split())
                if failed == workers:
                    raise UserError(f"no worker of the sweep could work: {why}") from error
                say(f"a worker failed, the others go on: {why}")
    finally:
        ray.shutdown()


def worker(folder: str, environment: dict[str, str], given: tuple[Any, ...]) -> int:
    """What a task runs, on whatever machine."""
    if Path(folder).is_dir():  # paths in the sweep may be relative
        os.chdir(folder)
    os.environ.update(environment)
    return serve(*given)
