"""Workers of a sweep as processes of this machine that share its cores; their events come back here."""

from __future__ import annotations

import copy
import multiprocessing
import os
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing.connection import wait
from typing import Any

from clplat.errors import UserError
from clplat.events import Listener
from clplat.sweep.queue import Job
from clplat.sweep.worker_spec import WorkerSpec

__all__ = ["run_local"]

#: How often starting a process is tried.
STARTS = 4


def run_local(spec: WorkerSpec, listen: Callable[[Job], Listener], say: Callable[[str], None]) -> None:
    """Run a sweep in processes until nothing is left; one that dies is replaced.

    Args:
        listen: called with each job that begins; its listener lives in this process.
        say: gets a line about each process that died.

    Raises:
        UserError: a worker could not go on, because a file is damaged say; no process can be started.
    """
    refused: list[str] = []
    with _noticing_interrupts() as check, _starting(spec) as start:
        busy = {worker.pipe: worker for worker in (start(place) for place in range(spec.workers))}
        while busy:
            check()
            for pipe in wait(list(busy), timeout=1):
                worker = busy[pipe]
                message = worker.receive()
                if message is None:
                    del busy[pipe]
                    if worker.how_it_ended and _again(worker, say):
                        fresh = start(worker.place)
                        busy[fresh.pipe] = fresh
                elif message[0] == "refused":
                    refused.append(message[1])
                elif message[0] == "job":
                    worker.listener = listen(message[1])
                else:
                    getattr(worker.listener, message[0])(*message[1])
    if refused:
        raise UserError(refused[0])


@contextmanager
def _noticing_interrupts() -> Iterator[Callable[[], None]]:
    """Yields a function that raises a Ctrl-C again: Python drops one that comes while it collects garbage."""
    if threading.current_thread() is not threading.main_thread():  # where Python forbids handlers
        yield lambda: None
        return
    before = signal.getsignal(signal.SIGINT)
    arrived = threading.Event()

    def interrupt(*_: Any) -> None:
        arrived.set()
        raise KeyboardInterrupt

    def check() -> None:
        if arrived.is_set():
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)
    try:
        yield check
    finally:
        signal.signal(signal.SIGINT, before)


def _again(worker: _Worker, say: Callable[[str], None]) -> bool:
    """Whether a dead process is worth another: not one that could not even begin."""
    say(f"worker {worker.place + 1} {worker.how_it_ended}; its job goes back to the queue")
    return worker.listener is not None or time.monotonic() - worker.born > 20


class _Worker:
    """A process that works on the queue, as its parent sees it."""

    def __init__(self, context: Any, spec: WorkerSpec, place: int) -> None:
        self.place, self.born = place, time.monotonic()
        self.pipe, theirs = context.Pipe(duplex=False)
        self.process = context.Process(target=_work, args=(theirs, spec, place))
        self.process.start()
        theirs.close()
        self.listener: Listener | None = None
        self.how_it_ended, self.ended = "", False

    def stop(self) -> None:
        """End the process, also one whose fork server died: `multiprocessing` takes that for its own end."""
        if not self.ended:
            with suppress(ProcessLookupError):
                os.kill(self.process.pid, signal.SIGTERM)

    def receive(self) -> tuple[str, Any] | None:
        """The next message, or None when the process ended."""
        try:
            message: tuple[str, Any] = self.pipe.recv()
            return message
        except (EOFError, OSError):
            self.ended = True
            self.process.join()
            code = self.process.exitcode
            if code:
                self.how_it_ended = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
                if code == -signal.SIGKILL:
                    self.how_it_ended += " (out of memory?)"
            return None


@contextmanager
def _starting(spec: WorkerSpec) -> Iterator[Callable[[int], _Worker]]:
    """Yields a function that starts a process; all of them end with the block."""
    # Imports take most of a start: the fork server makes them once for all, those of a run's first steps
    # included (open_clip). What touched CUDA cannot fork.
    context: Any = multiprocessing.get_context("spawn" if spec.cuda else "forkserver")
    if not spec.cuda:
        context.set_forkserver_preload(["clplat.runs.experiment", "clplat.sweep.worker", "open_clip"])
    held = os.environ.get("OMP_NUM_THREADS")
    # Threads of the numerical libraries are fixed before a process imports them.
    os.environ["OMP_NUM_THREADS"] = str(spec.threads)
    started: list[_Worker] = []

    def start(place: int) -> _Worker:
        for attempt in range(STARTS):
            try:
                started.append(_Worker(context, spec, place))
                return started[-1]
            except (EOFError, OSError) as error:  # the fork server died; the next try makes another
                why = f"{type(error).__name__}: {error}".rstrip(": ")
                time.sleep(0.1 * attempt)
        raise UserError(f"no worker could be started ({why}); run the same command again to go on")

    try:
        yield start
    finally:
        for worker in started:
            worker.stop()
        for worker in started:
            worker.process.join()
            worker.pipe.close()
        if held is None:
            os.environ.pop("OMP_NUM_THREADS", None)
        else:
            os.environ["OMP_NUM_THREADS"] = held


# -- in the process --------------------------------------------------------------------------------


def _work(pipe: Any, spec: WorkerSpec, place: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends us
    # SIGTERM ends us at once, as SIGKILL would: an exception could get lost while Python collects garbage,
    # and every file is written whole or not at all. The next run in a folder deletes temporary files.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    warnings.simplefilter("ignore")
    import torch

    from clplat.sweep.worker import run_worker

    if spec.threads is not None:
        torch.set_num_threads(spec.threads)
    if torch.cuda.is_available():  # each worker has a GPU of its own, as far as there are any
        torch.cuda.set_device(place % torch.cuda.device_count())
    # Sent by a thread of its own: training does not wait while the parent logs to MLflow.
    with ThreadPoolExecutor(1) as sender:

        def send(*message: Any) -> None:
            sender.submit(_send, pipe, message)

        def listen(job: Job) -> Listener:
            send("job", job)
            return PipeListener(send)

        try:
            run_worker(spec.queue(), listen)
        except UserError as error:
            send("refused", str(error))


def _send(pipe: Any, message: tuple[Any, ...]) -> None:
    try:
        pipe.send(message)
    except OSError:
        os._exit(1)  # the parent is gone; what is known is on disk


class PipeListener(Listener):
    """Sends every event to the parent process, which owns the terminal and the tracker."""

    def __init__(self, send: Callable[..., None]) -> None:
        self.send = send
        for name in ("started", "cell", "row", "finished", "failed", "note"):
            setattr(self, name, partial(self._send, name))

    def progress(self, experience: int, done: int, total: int) -> None:
        if done % 5 == 0:
            self._send("progress", experience, done, total)

    def _send(self, name: str, *values: Any) -> None:
        # The result goes on growing here while the message waits.
        self.send(name, copy.deepcopy(values))
