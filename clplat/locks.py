"""Locks among processes, on files: exclusive, and released by the kernel when their process is killed.

A lock is a file, which stays when the lock is released. Two threads of one process keep each other out as two
processes do. A forked child does not keep the lock of its parent, and a symbolic link is not followed.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

__all__ = ["is_locked", "locked"]

#: Seconds between two looks at a lock that another process holds.
POLL = 0.01


@contextmanager
def locked(path: Path, wait: bool = True) -> Iterator[None]:
    """Hold the exclusive lock on a file for the block; the file and its folder are made if need be.

    Args:
        path: of the lock. Only its holder may delete it; waiting processes make the file anew.
        wait: for the process that holds it; otherwise that is an error.

    Raises:
        BlockingIOError: it is held already, and ``wait`` is false.
        OSError: the file cannot be made or written, or the disk knows no locks.
        RuntimeError: this thread holds it already and would wait for itself.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / ".lock"
        >>> with locked(path):
        ...     is_locked(path)
        True
        >>> is_locked(path)
        False
    """
    # No soft lock where the disk knows no locks: its file would outlive a killed process.
    lock = FileLock(path, thread_local=False, poll_interval=POLL, fallback_to_soft=False)
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(blocking=wait)
            break
        except FileNotFoundError:
            continue  # the folder was deleted while we waited
        except Timeout:
            reason = "another process holds this lock"
            raise BlockingIOError(errno.EWOULDBLOCK, reason, str(path)) from None
    try:
        yield
    finally:
        lock.release()


def is_locked(path: Path) -> bool:
    """Whether a living process holds the lock; no file is made.

    Raises:
        OSError: the file cannot be opened.
    """
    if not path.exists():
        return False
    try:
        with locked(path, wait=False):
            return False
    except BlockingIOError:
        return True
