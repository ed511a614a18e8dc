"""Captioned pictures, dealt into domains and splits."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone

from clplat.data.folders import stable_hash
from clplat.data.items import Picture
from clplat.errors import UserError

from .reading import Captions

__all__ = ["Held", "by_column", "by_time", "split_up"]

_YEARS = re.compile(r"(\d{4})(?:-(\d{4}))?")


@dataclass(frozen=True)
class Held:
    """A picture of a domain, its captions, and the split that it is in."""

    picture: Picture
    said: Captions

    @property
    def split(self) -> str:
        """``train``, ``val`` or ``test``."""
        return self.said.split


def by_column(tables: Mapping[str, Sequence[Held]]) -> dict[str, list[Held]]:
    """Domains by what the files say of each picture, by first appearance.

    Raises:
        UserError: a file does not say.
    """
    found: dict[str, list[Held]] = {}
    for name, rows in tables.items():
        for row in rows:
            if not row.said.domain:
                raise UserError(f"table '{name}' does not say the domain of picture '{row.said.picture}'")
            found.setdefault(row.said.domain, []).append(row)
    return found


def by_time(tables: Mapping[str, Sequence[Held]], periods: Sequence[str] | None) -> dict[str, list[Held]]:
    """Domains by year, earliest first; or by periods of years, and what lies in none is left out.

    Args:
        tables: of which each picture has a time: a year, a date that begins with one, or seconds since 1970.
        periods: such as ``["2004-2008", "2009-2010"]``; by default every year.

    Raises:
        UserError: a picture without a time, a period that is none, one without pictures.
    """
    spans = {name: _span(name) for name in periods or ()}
    found: dict[str, list[Held]] = {name: [] for name in spans}
    for table, rows in tables.items():
        for row in rows:
            year = _year(row.said, table)
            if periods is None:
                found.setdefault(str(year), []).append(row)
            for name in (name for name, (first, last) in spans.items() if first <= year <= last):
                found[name].append(row)
    if empty := [name for name, rows in found.items() if not rows]:
        raise UserError(f"no picture is of the period {empty[0]}")
    return found if periods is not None else dict(sorted(found.items()))


def split_up(rows: Sequence[Held], held_out: float, validation: float) -> list[Held]:
    """Give those a split that have none, by a hash of their keys, so that other rows never move a picture.

    Args:
        rows: of one domain.
        held_out: share of the pictures that is tested on, where no row says ``test``.
        validation: share of the training pictures, where no row says ``val``.
    """
    there = {row.split for row in rows}
    if "test" not in there and "val" in there:  # a set whose labels of test are hidden
        rows = [
            replace(row, said=replace(row.said, split="test")) if row.split == "val" else row for row in rows
        ]
        there = {row.split for row in rows}
    found = []
    for row in rows:
        place = stable_hash("held out", row.picture.key) / 2**64
        split = row.split or ("test" if place < held_out else "train")
        if "test" not in there and place < held_out:
            split = "test"
        if split == "train" and "val" not in there:
            split = "val" if stable_hash("validation", row.picture.key) / 2**64 < validation else "train"
        found.append(replace(row, said=replace(row.said, split=split)))
    return found


def _span(period: str) -> tuple[int, int]:
    found = _YEARS.fullmatch(period)
    if found is None or int(found[2] or found[1]) < int(found[1]):
        raise UserError(f"'{period}' is no period of years, such as 2009 or 2004-2008")
    return int(found[1]), int(found[2] or found[1])


def _year(said: Captions, table: str) -> int:
    text = said.time.strip()
    if re.fullmatch(r"\d{6,}(\.\d+)?", text):
        return datetime.fromtimestamp(float(text), tz=timezone.utc).year
    found = re.match(r"\d{4}(?!\d)", text)
    if found is None:
        what = f"the time '{text}'" if text else "no time"
        raise UserError(f"table '{table}': picture '{said.picture}' has {what}; it should begin with a year")
    return int(found[0])
