"""Which workers of a sweep are alive, on this and other machines: by locks that end with their process."""

from __future__ import annotations

import secrets
import socket
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path

from clplat.locks import is_locked, locked

__all__ = ["Workers"]


class Workers:
    """The workers of a sweep, each a locked file.

    Args:
        folder: with a file for each worker; all machines see the same.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._held = ExitStack()

    @cached_property
    def own_name(self) -> str:
        """The name of this worker, which is alive as long as its process and this object."""
        name = f"{socket.gethostname()}-{secrets.token_hex(4)}"
        self._held.enter_context(locked(self.folder / name))
        return name

    def is_alive(self, name: str | None) -> bool:
        """Whether the worker of this name, which may be this one, is still there."""
        return name is not None and is_locked(self.folder / name)
