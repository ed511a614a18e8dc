"""Which domain a row is of: a column says it, or the time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import compute as pc

from clplat.errors import UserError, unknown_name

from .cells import TEXT

__all__ = ["stream_of", "with_domain"]

ONE = "all"


def with_domain(rows: pa.Table, periods: int | None, where: str) -> tuple[pa.Table, dict[str, list[str]]]:
    """The rows with a column ``domain``, and for periods of time their first and last moment.

    Raises:
        UserError: periods without a column of times, or more of them than there are moments.
    """
    if periods is None:
        if "domain" in rows.column_names:
            return rows, {}
        return rows.append_column("domain", pa.array([ONE] * len(rows), TEXT)), {}
    if "time" not in rows.column_names:
        raise UserError(
            f"{where}: periods need a column of dates or numbers: --scenario.columns '{{time: NAME}}'"
        )
    moments = rows.column("time").combine_chunks()
    values = _ordered(moments, where)
    distinct, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    if len(distinct) < periods:
        raise UserError(
            f"{where}: {periods} periods need as many distinct times, and there are {len(distinct)}"
        )
    part = np.searchsorted(_ends(np.cumsum(counts), periods), np.arange(len(distinct)), side="right")
    of_row = part[place]
    width = len(str(periods))
    names = [f"period-{number + 1:0{width}d}" for number in range(periods)]
    spans = {}
    for number, name in enumerate(names):
        own = np.flatnonzero(of_row == number)
        ends = own[values[own].argmin()], own[values[own].argmax()]
        spans[name] = [moments[int(end)].as_py() for end in ends]
    column = pa.array(names, TEXT).take(pa.array(of_row))
    if "domain" in rows.column_names:
        rows = rows.drop_columns(["domain"])
    return rows.append_column("domain", column), spans


def _ends(rows: Any, periods: int) -> list[int]:
    """Where each period but the last ends, in moments: as many rows in each as whole moments allow.

    Args:
        rows: up to each moment.
    """
    ends: list[int] = []
    for number in range(1, periods):
        wanted = int(np.searchsorted(rows, rows[-1] * number / periods)) + 1
        ends.append(min(max(wanted, (ends or [0])[-1] + 1), len(rows) - (periods - number)))
    return ends


def _ordered(moments: Any, where: str) -> Any:
    """Numbers that order as the moments do: they are numbers, or dates."""
    for kind in (pa.float64(), pa.timestamp("us")):
        try:
            return np.asarray(moments.cast(kind).cast(pa.float64() if kind == pa.float64() else pa.int64()))
        except pa.ArrowInvalid:
            continue
    for row, cell in enumerate(moments.to_pylist(), 1):
        try:
            pa.array([cell]).cast(pa.timestamp("us"))
        except pa.ArrowInvalid:
            raise UserError(
                f"{where}, row {row}: '{cell}' is no time; allowed are numbers, or dates such as 2024-05-31"
            ) from None
    raise UserError(f"{where}: the column of times mixes numbers and dates")


def stream_of(rows: pa.Table, order: Sequence[str] | None) -> list[str]:
    """The domains in stream order: as it is said, or by their first rows; periods by time.

    Raises:
        UserError: an unknown domain.
    """
    known = pc.unique(rows.column("domain")).to_pylist()
    if order is None:
        return sorted(known) if all(name.startswith("period-") for name in known) else known
    for name in order:
        if name not in known:
            raise unknown_name("domain", name, known)
    return list(order)
