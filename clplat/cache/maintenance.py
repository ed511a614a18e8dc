"""The upkeep of a store: what its tables take, and whether they are whole."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clplat.cache.segments import (
    KEY,
    DamagedError,
    count_rows,
    digest_of,
    open_segment,
    read_key,
    segments_in,
    stats_in,
)
from clplat.errors import UserError

__all__ = ["TableInfo", "check", "describe", "in_words", "listing", "parse_bytes"]


@dataclass(frozen=True)
class TableInfo:
    """What a table takes; ``last_used`` in seconds since 1970, to the minute."""

    digest: str
    key: dict[str, Any]
    rows: int
    bytes: int
    last_used: float


def describe(folder: Path) -> TableInfo | None:
    """What is in a table's folder; None when it has no segments."""
    stats = stats_in(folder)
    if not stats:
        return None
    size, used = sum(s.st_size for s in stats.values()), max(s.st_mtime for s in stats.values())
    return TableInfo(folder.name, read_key(folder) or {}, sum(map(count_rows, stats)), size, used)


def check(folder: Path) -> list[str]:
    """Read a table's folder to the last byte; return its problems, one line each."""
    problems = []
    segments, key = segments_in(folder), read_key(folder)
    if segments and (key is None or digest_of(key) != folder.name):
        problems.append(f"{folder / KEY} is not the key of this table")
        key = None
    for path in segments.values():
        try:
            _, rows = open_segment(path, folder.name, check=True)
        except FileNotFoundError:  # deleted by another process meanwhile
            continue
        except DamagedError as error:
            problems.append(f"{path} {error}")
            continue
        actual = {"dtype": str(rows.dtype).removeprefix("torch."), "shape": list(rows.shape[1:])}
        for entry, value in actual.items():
            if key and key.get(entry, value) != value:
                problems.append(f"{path} has rows of {entry} {value}, its key says {key[entry]}")
    return problems


def listing(tables: Sequence[TableInfo]) -> tuple[list[str], list[list[str]], int]:
    """Head and lines of a table of tables, and how many columns are words.

    Example:
        >>> key = {"what": "image", "tap": "pooled", "dtype": "float16", "shape": [512]}
        >>> head, body, _ = listing([TableInfo("4f2a" * 16, key, 1000, 1_050_000, 0.0)])
        >>> head[:-1]
        ['table', 'what', 'row', 'rows', 'size']
        >>> body[0][:-1]
        ['4f2a4f2a', 'image pooled', 'float16 512', '1000', '1.1 MB']
    """
    body = []
    for table in tables:
        what = [str(table.key[word]) for word in ("what", "tap", "backbone") if table.key.get(word)]
        shape = table.key.get("shape")
        row = [str(table.key.get("dtype", "")), "x".join(map(str, shape)) if isinstance(shape, list) else ""]
        used = time.strftime("%Y-%m-%d %H:%M", time.localtime(table.last_used))
        words = [table.digest[:8], " ".join(what) or "?", " ".join(filter(None, row)) or "?"]
        body.append([*words, str(table.rows), in_words(table.bytes), used])
    return ["table", "what", "row", "rows", "size", "last used"], body, 3


def in_words(size: float) -> str:
    """A number of bytes to read, in two digits or more.

    Example:
        >>> in_words(999), in_words(20e9), in_words(1_234_567)
        ('999 B', '20 GB', '1.2 MB')
    """
    unit = 0
    while size >= 999.5 and unit < 4:
        size, unit = size / 1000, unit + 1
    digits = 1 if unit and size < 9.95 and f"{size:.1f}"[-1] != "0" else 0
    return f"{size:.{digits}f} {('B', 'kB', 'MB', 'GB', 'TB')[unit]}"


def parse_bytes(text: str, what: str) -> int:
    """A number of bytes in words.

    Args:
        text: such as "20GB", "1.5 TB", "500MB" or plain bytes; a kB is 1000 bytes.
        what: is given, for the error.

    Raises:
        UserError: anything else.

    Example:
        >>> parse_bytes("1.5GB", "the limit")
        1500000000
    """
    found = re.fullmatch(r"(\d{1,18}(?:\.\d{1,18})?) *(?:([kMGT])?B)?", text.strip(), re.IGNORECASE)
    if not found:
        raise UserError(f"{what} takes a number of bytes such as 20GB or 500MB, not '{text[:40]}'")
    return int(float(found[1]) * 1000 ** " KMGT".index((found[2] or " ").upper()))
