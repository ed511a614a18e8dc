"""The journal of a sweep's studies: one line per operation, each with a checksum; a damaged line is told.

Optuna's own backend without its traceback on the first damaged byte. Lines of older releases, and of other
programs such as optuna-dashboard, have no checksum; they must be JSON.
"""

from __future__ import annotations

import json
import os
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend

from clplat.errors import UserError
from clplat.locks import locked

__all__ = ["JOURNAL", "Journal", "open_journal"]

JOURNAL = "studies.journal"
_CHECKED = re.compile(rb'(.*),"crc":"([0-9a-f]{8})"\}\n', re.DOTALL)


class Journal(BaseJournalBackend):
    """A file of JSON lines that any number of processes read and append to.

    Args:
        path: of the file, made if need be. Writers lock ``<path>.lock``, which the kernel takes back from a
            killed process at once.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._starts = [0]  # where each line begins, as far as they were read
        path.touch()

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        """The operations from a number on, up to what another process is writing at this moment.

        Raises:
            UserError: a damaged line.
        """
        with self.path.open("rb") as file:
            number = min(log_number_from, len(self._starts) - 1)
            file.seek(self._starts[number])
            for line in file:
                if not line.endswith(b"\n"):
                    return
                try:
                    log = _log(line)
                except ValueError:  # or a torn line was cut off and another one written while it was read
                    line, log = self._again(file, number)
                number += 1
                if number == len(self._starts):
                    self._starts.append(self._starts[-1] + len(line))
                if number > log_number_from:
                    yield log

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Write operations to the end, and to the disk."""
        with locked(Path(f"{self.path}.lock")), self.path.open("rb+") as file:
            file.truncate(_whole(self.path, file.seek(0, os.SEEK_END)))
            file.seek(0, os.SEEK_END)
            file.write(b"".join(map(_line, logs)))
            file.flush()
            os.fsync(file.fileno())

    def _again(self, file: BinaryIO, number: int) -> tuple[bytes, dict[str, Any]]:
        """Read a line once more, while nobody writes."""
        try:
            with locked(Path(f"{self.path}.lock")):
                file.seek(self._starts[number])
                line = file.readline()
                return line, _log(line)
        except ValueError as error:
            raise damaged(self.path, number, str(error)) from None


def open_journal(path: Path) -> JournalStorage:
    """The studies of a journal.

    Raises:
        UserError: a damaged line; with its number and the way out.
    """
    journal = Journal(path)
    try:
        return JournalStorage(journal)
    except UserError:
        raise
    except Exception as error:  # whatever Optuna makes of an operation that cannot be
        raise damaged(path, len(journal._starts) - 2, f"{type(error).__name__}: {error}") from error


def damaged(path: Path, number: int, why: str) -> UserError:
    """The error for a line; numbers begin with 0 here and with 1 for people."""
    return UserError(
        f"{path}, line {number + 1} is damaged ({' '.join(why.split())[:120]}); "
        f"clplat sweep --repair --out {path.parent} keeps a copy and makes it anew from the runs"
    )


def _log(line: bytes) -> dict[str, Any]:
    """The operation in a line; ValueError if it is damaged."""
    checked = _CHECKED.fullmatch(line)
    content = checked[1] + b"}" if checked else line
    if checked and zlib.crc32(content) != int(checked[2], 16):
        raise ValueError("its checksum is wrong")
    log = json.loads(content)
    if not isinstance(log, dict) or not isinstance(log.get("op_code"), int):
        raise ValueError("it is no operation of a study")
    return log


def _line(log: dict[str, Any]) -> bytes:
    content = json.dumps(log, separators=(",", ":")).encode()
    return content[:-1] + b',"crc":"%08x"}\n' % zlib.crc32(content)


def _whole(path: Path, size: int) -> int:
    """The bytes of a file without what a writer began and did not end."""
    with path.open("rb") as file:
        file.seek(max(size - 1, 0))
        if size == 0 or file.read() == b"\n":
            return size
    return path.read_bytes().rfind(b"\n") + 1
