"""Files at rest: whole or not there at all, and read back as they were written, or refused.

They are written to a temporary name and renamed. What is read back carries a checksum near its beginning,
where other programs pass over it: in the metadata of safetensors, as the entry ``$crc32`` of JSON, as
``$lines_crc32`` in the first line of JSON Lines, in a comment of YAML. A file without one, of an older
release or from elsewhere, is taken as it is.
"""

from __future__ import annotations

import filecmp
import io
import json
import os
import re
import secrets
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from safetensors import SafetensorError

from clplat.errors import UserError

__all__ = [
    "CHECKSUM", "is_as_written", "keep_once", "parsed", "read_json", "read_text", "remove_leftovers",
    "write_atomically", "write_checked", "write_json", "write_text",
]  # fmt: skip

_TEMPORARY = ".clplat-tmp"
#: Stands for a checksum that is not known yet. A CRC finds every change of up to four bytes in a row.
CHECKSUM = "00000000"
#: What begins a file with a checksum, up to its digits.
_BEGINNING = re.compile(
    rb'(?s:.{8}){"__metadata__":{"crc32":"|{\n  "\$crc32": "|{"\$lines_crc32": "|# crc32: '
)
_DIGITS = len(CHECKSUM)
_ENTRY = "$crc32"
_CHUNK = 1 << 20


def write_atomically(path: Path, write: Callable[[Path], object], mode: int = 0o666) -> None:
    """Call ``write`` with a temporary path beside ``path``, flush it to disk, then rename it over ``path``.

    Args:
        path: what stands there is replaced; folders are made if need be.
        write: gets an empty file.
        mode: of the file, less what the umask takes away; 0o600 for what nobody else may read.

    Raises:
        UserError: the disk is full or not writable; what stood at ``path`` before still stands.
    """
    temporary = path.with_name(f".{path.name[:32]}.{secrets.token_hex(4)}{_TEMPORARY}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode))
        try:
            write(temporary)
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        _sync_folder(path.parent)
    except (OSError, SafetensorError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        raise UserError(f"could not write {path}: {reason}; what was there before is untouched") from error


def _sync_folder(folder: Path) -> None:
    """A renamed file survives a power failure once its folder is on disk as well."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # disks of other machines may not know this
            os.fsync(handle)
    finally:
        os.close(handle)


def remove_leftovers(folder: Path, older_than: float = 0.0) -> None:
    """Delete the temporary files of writers that were killed.

    Args:
        folder: with all that is below it.
        older_than: seconds; where others may be writing, younger files may be theirs.
    """
    before = time.time() - older_than
    for path in folder.rglob(f".*{_TEMPORARY}"):
        with suppress(OSError):  # gone meanwhile, or not ours
            if not older_than or path.stat().st_mtime < before:
                path.unlink()


def keep_once(path: Path, before: Path) -> None:
    """Make a file another name of one that holds the same bytes; one that holds others stays as it is.

    Files at rest are replaced, never written to again: neither can change the other.
    """
    spare = path.with_name(f".{path.name}{_TEMPORARY}")
    with suppress(OSError):  # there is none, or the disk knows no links
        if filecmp.cmp(path, before, shallow=False) and not path.samefile(before):
            os.link(before, spare)
            os.replace(spare, path)


def write_text(path: Path, text: str, comment: str = "") -> None:
    """Write a text file atomically.

    Args:
        comment: begins a line that readers pass over, "#" in YAML: the checksum stands there, at the top.
    """
    if comment:
        write_checked(path, f"{comment} crc32: {CHECKSUM}, of this file as clplat wrote it\n{text}".encode())
    else:
        write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_checked(path: Path, head: bytes, body: bytes | memoryview = b"") -> None:
    """Write atomically what begins as a file with a checksum does, with the checksum in place of `CHECKSUM`.

    Raises:
        ValueError: ``head`` does not begin so.
        UserError: as `write_atomically`.
    """
    found = _BEGINNING.match(head)
    if found is None:
        raise ValueError(f"there is no place for a checksum in {path.name}")
    digits = b"%08x" % zlib.crc32(body, zlib.crc32(head))

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            file.writelines((head[: found.end()], digits, head[found.end() + _DIGITS :], body))

    write_atomically(path, write)


def is_as_written(path: Path) -> bool:
    """Whether a file has the bytes that its checksum was made of; true where it has none.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return _as_written(file)


def _as_written(file: BinaryIO) -> bool:
    first = file.read(_CHUNK)
    found = _BEGINNING.match(first)
    digits = first[found.end() : found.end() + _DIGITS] if found else b""
    if found is None or not re.fullmatch(rb"[0-9a-f]{8}", digits):
        return True
    crc = zlib.crc32(CHECKSUM.encode(), zlib.crc32(first[: found.end()]))
    crc = zlib.crc32(first[found.end() + _DIGITS :], crc)
    while chunk := file.read(_CHUNK):
        crc = zlib.crc32(chunk, crc)
    return crc == int(digits, 16)


def read_text(path: Path) -> str:
    """The text in a file; one that is missing, or damaged as its checksum tells, is a `UserError`."""
    try:
        return _content(path).decode()
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is no text: {error}") from None


def _content(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"no such file: {path}") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    if not _as_written(io.BytesIO(content)):
        own = "if you changed it yourself, delete the line with its checksum"
        raise UserError(f"{path} is damaged: these are not the bytes that were written ({own})")
    return content


def write_json(path: Path, value: Any, checksum: bool = True) -> None:
    """Write JSON atomically: two spaces, sorted keys, a final newline, no NaN (`None` stands for it).

    Args:
        checksum: a mapping gets one, which `read_json` takes out again; not where other programs mind.
    """
    text = json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n"
    if isinstance(value, dict) and checksum:
        rest = f",{text[1:]}" if value else "\n}\n"
        write_checked(path, f'{{\n  "{_ENTRY}": "{CHECKSUM}"{rest}'.encode())
    else:
        write_text(path, text)


def read_json(path: Path) -> Any:
    """Read JSON; a missing, damaged or broken file is a `UserError` that names it."""
    value = parsed(_content(path), path)
    if isinstance(value, dict):
        value.pop(_ENTRY, None)
    return value


def parsed(content: bytes, where: object) -> Any:
    """JSON in UTF-8 as plain data.

    Args:
        content: of a file, a line or whatever else ``where`` names.

    Raises:
        UserError: it is no JSON, or nested too deeply; with ``where``.

    Example:
        >>> parsed(b"[1,", "words.json")
        Traceback (most recent call last):
        clplat.errors.UserError: words.json is no JSON: Expecting value: line 1 column 4 (char 3)
    """
    try:
        return json.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where} is no JSON: {error}") from None
