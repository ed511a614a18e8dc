"""The answers of the page in words: every number in them is read from an entry."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from sweeps.under_change.cells import STRATEGIES, TOWERS
from sweeps.under_change.reading import Line, Row, below_text, change, forgets, lines_of, over

__all__ = ["answers"]

#: Points that are more than nothing on a hundred queries a domain.
_SOME = 2.0
_NAMED = 3  # composers at each end of a sentence

_Value = Callable[[Row], float | None]


def answers(entry: Mapping[str, Any]) -> list[str]:
    """A paragraph for each question, as far as it has run."""
    lines: dict[str, list[Line]] = {
        towers: [line for line in lines_of(entry, towers) if not line.blind] for towers in TOWERS
    }
    asked = {
        "Which forget?": (_forget, forgets),
        "Which keep zero-shot composition?": (_new, lambda row: change(row, "new", "new_before")),
        "Which keep the old index usable?": (_old, lambda row: row["more"]["old_index"]),
        "Combinations that were held out.": (_held_out, lambda row: change(row, "shown", "held_out")),
    }
    found: list[str] = []
    for question, (say, value) in asked.items():
        said = [say(towers, trained, value) for towers, trained in _trained(lines).items()]
        if said:
            found += [f"**{question}** {' '.join(said)}", ""]
    return [*found, *_beaten(lines)]


def _trained(lines: Mapping[str, Sequence[Line]]) -> dict[str, list[Line]]:
    """The lines with something trained, of the towers that have any."""
    found = {towers: [line for line in some if line.trained] for towers, some in lines.items()}
    return {towers: some for towers, some in found.items() if some}


def _forget(towers: str, lines: Sequence[Line], value: _Value) -> str:
    many = sum((line.mean(value) or 0.0) > _SOME for line in lines)
    return (
        f"With {towers} towers {many} of {len(lines)} lose more than {_SOME:g} points, mean over strategies "
        f"({_by_strategy(lines, value)}); most {_ends(lines, value, most=True)}; least "
        f"{_ends(lines, value, most=False)}."
    )


def _new(towers: str, lines: Sequence[Line], value: _Value) -> str:
    known = [line for line in lines if line.mean(value) is not None]
    kept = sum((line.mean(value) or 0.0) >= 0 for line in known)
    return (
        f"With {towers} towers {kept} of {len(known)} compose on domains that are not trained yet at "
        f"least as well as before training ({_by_strategy(lines, value, '+')}); they lose most with "
        f"{_ends(lines, value, most=False, sign='+')} and gain most with "
        f"{_ends(lines, value, most=True, sign='+')}."
    )


def _old(towers: str, lines: Sequence[Line], value: _Value) -> str:
    known = [line for line in lines if line.mean(value) is not None]
    if all(abs((line.mean(value) or 0.0) - 100.0) < 1e-9 for line in known):
        return f"With {towers} towers the gallery never changes, and every old index stays as it is."
    usable = sum((line.mean(_old_change) or 0.0) >= 0 for line in known)
    return (
        f"With {towers} towers queries of the newest version find in old indexes, in percent of what they "
        f"find in their own: {_by_strategy(lines, value)}. With {usable} of {len(known)} they find there at "
        "least as much as the versions that made the indexes did, in points above these: "
        f"{_by_strategy(lines, _old_change, '+')}; least {_ends(lines, _old_change, most=False, sign='+')}, "
        f"most {_ends(lines, _old_change, most=True, sign='+')}."
    )


def _old_change(row: Row) -> float | None:
    found: float | None = row["more"]["old_index_change"]
    return found


def _held_out(towers: str, lines: Sequence[Line], value: _Value) -> str:
    every = _rows(lines)
    shown = over(every, lambda row: row["more"]["shown"])
    held = over(every, lambda row: row["more"]["held_out"])
    before = over(every, lambda row: row["more"]["held_out_before"])
    shown_before = over(every, lambda row: row["more"]["shown_before"])
    if None in (shown, held, before, shown_before):
        return ""
    return (
        f"With {towers} towers they end at {held:.1f} in the mean of all cells, others at {shown:.1f}; "
        f"before training they stood at {before:.1f} and {shown_before:.1f}. The gap is largest with "
        f"{_ends(lines, value, most=True)}."
    )


def _beaten(lines: Mapping[str, Sequence[Line]]) -> list[str]:
    """Who ends below the text alone, and under what."""
    found = ["**Beaten by the text alone**, by their own model's or trained in the same way."]
    for towers, some in lines.items():
        said = []
        for line in some:
            below = [name.replace("_", " ") for name, row in line.rows.items() if below_text(row)]
            under = "" if len(below) == len(line.rows) else f" ({', '.join(below)})"
            said += [f"`{line.name}`{under}"] if below else []
        found += [f"Of {len(some)} with {towers} towers: {', '.join(said) or 'none'}."] if some else []
    return [" ".join(found), ""]


def _by_strategy(lines: Sequence[Line], value: _Value, sign: str = "") -> str:
    """``naive 5.1, replay 2.0, ...``: means over composers."""
    said = []
    for name in STRATEGIES:
        mean = over((line.rows[name] for line in lines if name in line.rows), value)
        said += [] if mean is None else [f"{name.replace('_', ' ')} {mean:{sign}.1f}"]
    return ", ".join(said)


def _ends(lines: Sequence[Line], value: _Value, *, most: bool, sign: str = "") -> str:
    """The composers at one end, with their means over strategies."""
    known = [(mean, line.name) for line in lines if (mean := line.mean(value)) is not None]
    known.sort(key=lambda pair: (-pair[0] if most else pair[0], pair[1]))
    count = max(1, min(_NAMED, len(known) // 2))
    return ", ".join(f"`{name}` ({mean:{sign}.1f})" for mean, name in known[:count])


def _rows(lines: Iterable[Line]) -> list[Row]:
    return [row for line in lines for row in line.trained]
