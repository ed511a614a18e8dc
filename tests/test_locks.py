"""Locks: exclusive among processes and threads, and never left behind by the dead."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from clplat.locks import is_locked, locked

HOLDER = """
import pathlib, sys
from clplat.locks import locked
with locked(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""
TIMEOUT = 60


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds ``.lock`` until its input ends."""
    command = [sys.executable, "-c", HOLDER, str(tmp_path / ".lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        yield process
        process.kill()


class Waiter:
    """A thread that takes a lock, and two events: it found the lock held; it has it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.waits, self.has = threading.Event(), threading.Event()
        self.thread = threading.Thread(target=self.take, daemon=True)
        self.thread.start()

    def take(self) -> None:
        log = logging.getLogger("filelock")
        handler = logging.Handler()
        handler.emit = self.hear  # type: ignore[method-assign]
        log.setLevel(logging.DEBUG)
        log.addHandler(handler)
        try:
            with locked(self.path):
                self.has.set()
        finally:
            log.removeHandler(handler)
            log.setLevel(logging.NOTSET)

    def hear(self, record: logging.LogRecord) -> None:
        if "waiting" in record.getMessage():
            self.waits.set()


def test_the_file_and_its_folder_are_made_and_stay(tmp_path: Path) -> None:
    path = tmp_path / "new" / ".lock"
    assert not is_locked(path) and not path.parent.exists()
    with locked(path):
        assert is_locked(path)
    assert path.exists() and not is_locked(path)


def test_a_held_lock_is_an_error_or_waited_for(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    with locked(path):
        with pytest.raises(BlockingIOError, match="another process") as caught, locked(path, wait=False):
            pass
        assert caught.value.filename == str(path)
        waiter = Waiter(path)  # threads of one process keep each other out too
        assert waiter.waits.wait(TIMEOUT) and not waiter.has.is_set()
    assert waiter.has.wait(TIMEOUT)
    waiter.thread.join(TIMEOUT)
    assert not is_locked(path)


def test_a_thread_that_would_wait_for_itself_fails(tmp_path: Path) -> None:
    with locked(tmp_path / ".lock"):
        with pytest.raises(RuntimeError, match="Deadlock"), locked(tmp_path / ".lock"):
            pass
        assert is_locked(tmp_path / ".lock")


def test_an_error_in_the_block_releases_the_lock(tmp_path: Path) -> None:
    with pytest.raises(KeyError), locked(tmp_path / ".lock"):
        raise KeyError
    assert not is_locked(tmp_path / ".lock")


def test_a_killed_process_loses_its_lock(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    path = tmp_path / ".lock"
    assert is_locked(path)
    waiter = Waiter(path)
    assert waiter.waits.wait(TIMEOUT)
    os.kill(holder.pid, signal.SIGKILL)
    assert waiter.has.wait(TIMEOUT) and holder.wait(TIMEOUT) == -signal.SIGKILL
    waiter.thread.join(TIMEOUT)
    assert not is_locked(path)


def test_a_process_that_ends_its_block_gives_the_lock_back(
    tmp_path: Path, holder: subprocess.Popen[str]
) -> None:
    waiter = Waiter(tmp_path / ".lock")
    assert waiter.waits.wait(TIMEOUT)
    assert holder.stdin is not None
    holder.stdin.close()
    assert waiter.has.wait(TIMEOUT) and holder.wait(TIMEOUT) == 0


def test_a_forked_child_does_not_keep_the_lock(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    begin, end = os.pipe()
    with locked(path):
        child = os.fork()
        if child == 0:
            os.close(end)
            os.read(begin, 1)  # until the parent is done
            os._exit(0)
    try:
        assert not is_locked(path)
    finally:
        os.close(end)
        assert os.waitpid(child, 0)[1] == 0


def test_a_child_that_leaves_the_block_leaves_the_lock_to_its_parent(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    with locked(path):
        child = os.fork()
        if child == 0:
            os._exit(_left_in_a_child(path))
        assert os.waitpid(child, 0)[1] == 0
        assert is_locked(path)


def _left_in_a_child(path: Path) -> int:
    with locked(path.with_name("other")):
        grandchild = os.fork()
    if grandchild == 0:  # it ended the block with a lock that only its parent had
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(grandchild, 0)[1]) or int(not is_locked(path))


def test_those_who_wait_for_a_deleted_file_lock_the_next_one(tmp_path: Path) -> None:
    path = tmp_path / "folder" / ".lock"
    with locked(path):
        waiter = Waiter(path)
        assert waiter.waits.wait(TIMEOUT)
        path.unlink()
        path.parent.rmdir()
        assert waiter.has.wait(TIMEOUT), "it made the folder again"
    waiter.thread.join(TIMEOUT)
    assert path.exists() and not is_locked(path)


def test_a_symbolic_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("text")
    (tmp_path / ".lock").symlink_to(tmp_path / "precious")
    with pytest.raises(OSError, match="symbolic link"), locked(tmp_path / ".lock"):
        pass
    assert (tmp_path / "precious").read_text() == "text"


def test_a_path_that_cannot_be_a_lock_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "file" / ".lock"):
        with pytest.raises(OSError), locked(path):
            pass


def test_loader_workers_that_outlive_their_run_do_not_keep_its_lock(tmp_path: Path) -> None:
    """They look for their parent every five seconds only."""
    from torch.utils.data import DataLoader

    path = tmp_path / ".lock"
    begin, end = os.pipe()
    run = os.fork()
    if run == 0:
        with locked(path):
            for batch in DataLoader(range(1000), num_workers=2):  # type: ignore[arg-type]
                os.write(end, b"%d" % int(batch))
                os.read(os.pipe()[0], 1)  # until it is killed
    try:
        assert os.read(begin, 1) == b"0" and is_locked(path)
    finally:
        os.kill(run, signal.SIGKILL)
        os.waitpid(run, 0)
    assert not is_locked(path)
