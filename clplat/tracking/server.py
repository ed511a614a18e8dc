"""`clplat ui`: MLflow on the loopback interface, and links to its saved views."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.metadata import entry_points
from pathlib import Path

from clplat.addresses import without_password
from clplat.errors import UserError
from clplat.tracking.store import ARTIFACTS, QUIET, tracked, tracking_uri
from clplat.tracking.views import TAG, VIEWS, leaderboard_link

__all__ = ["free_port", "links", "serve"]

HOST = "127.0.0.1"
LOG = "mlflow-server.log"


def free_port(port: int) -> int:
    """``port``, or one that is free if it is taken (or 0)."""
    for candidate in (port, 0):
        # As the server does: a port in TIME_WAIT is free.
        with suppress(OSError), socket.create_server((HOST, candidate)) as probe:
            return int(probe.getsockname()[1])
    raise UserError(f"no free port on {HOST}")


def links(root: Path, port: int = 5000) -> dict[str, str]:
    """Links to the saved views, by name, without starting a server: ``{"catalogue: Leaderboard": "http://..."}``.

    The base is the server in ``MLFLOW_TRACKING_URI`` if that is one, else the one that `serve` would start.
    Empty when nothing is tracked or the store does not answer.
    """
    uri = tracking_uri(root)
    base = without_password(uri) if uri.startswith("http") else f"http://{HOST}:{port}"
    try:
        with tracked(root) as (_, experiments):
            return {
                f"{name}: {title}": leaderboard_link(base, item.experiment_id, view)
                for name, item in experiments.items()
                for view, title in VIEWS.items()
                if TAG + view in item.tags
            }
    except UserError:
        return {}


def serve(
    root: Path,
    port: int = 5000,
    *,
    say: Callable[[str], None] = print,
    show: Callable[[str], object] | None = None,
) -> int:
    """Show the runs of a folder in a browser until Ctrl-C.

    The server listens on 127.0.0.1 only; if ``port`` is taken, on another one. With ``MLFLOW_TRACKING_URI``
    set to a server nothing is started and only its links are shown.

    Args:
        show: opens a link, the first one; by default nothing is opened.

    Returns:
        The exit code: 0 after Ctrl-C.
    """
    uri = tracking_uri(root)
    if uri.startswith("http"):
        _tell(links(root), port, say, show)
        return 0
    wanted, port = port, free_port(port)
    if port != wanted:
        say(f"port {wanted} is taken; this is port {port}")
    log = root.resolve() / LOG
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "wb", opener=_no_link) as sink, _ended_by_signals():
        process = subprocess.Popen(
            _command(root, port),
            env=_environment() | {"MLFLOW_BACKEND_STORE_URI": uri},  # which anybody could read in its command
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            found = links(root, port)  # imports MLflow, for seconds, while the server does the same
            _wait_until_up(process, port, log)
            _tell(found, port, say, show)
            say("Ctrl-C stops the server.")
            return process.wait()
        except KeyboardInterrupt:
            return 0
        finally:
            _stop(process)


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """A closed terminal or `kill` ends us like Ctrl-C: the server has its own session and would live on."""
    if threading.current_thread() is not threading.main_thread():  # where Python forbids handlers
        yield
        return
    names = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(name, signal.default_int_handler) for name in names]
    try:
        yield
    finally:
        for name, handler in zip(names, before, strict=True):
            signal.signal(name, handler)


def _no_link(path: str, flags: int) -> int:
    """A symbolic link that somebody put there is not followed to what it would empty."""
    return os.open(path, flags | os.O_NOFOLLOW, 0o666)


def _command(root: Path, port: int) -> list[str]:
    words = f"-m mlflow server --host {HOST} --port {port} --workers 1".split()
    if entry_points(group="mlflow.app", name="clplat"):  # none where this was installed before it had a page
        words += ["--app-name", "clplat"]
    artifacts = (root.resolve() / ARTIFACTS).as_uri()
    return [sys.executable, *words, "--artifacts-destination", artifacts]


def _environment() -> dict[str, str]:
    jobs = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # queues for GenAI: unused processes
    ours = {key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"}
    return QUIET | jobs | ours


def _wait_until_up(process: subprocess.Popen[bytes], port: int, log: Path, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if process.poll() is not None:
            raise UserError(f"the MLflow server stopped at once (exit code {process.returncode}); see {log}")
        try:
            with urllib.request.urlopen(f"http://{HOST}:{port}/health", timeout=1):
                return
        except OSError:
            time.sleep(0.1)
    raise UserError(f"the MLflow server did not answer within {seconds:.0f} s; see {log}")


def _tell(
    found: Mapping[str, str], port: int, say: Callable[[str], None], show: Callable[[str], object] | None
) -> None:
    for name, link in found.items():
        say(f"{name:<32} {link}")
    if show is not None:
        show(next(iter(found.values()), f"http://{HOST}:{port}"))
    if not found:
        say(f"no runs are tracked yet; they will appear at http://{HOST}:{port}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the server and its workers (they share its process group)."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
