"""The answer in tables: methods with intervals, which differences are significant, what each method costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from clplat.formats import number, setting, signed, text
from clplat.measures import MEASURES, describe
from clplat.plots.forest import axis_over, head, interval
from clplat.plots.styles import Style
from clplat.report.outcome import Outcome, is_contender
from clplat.report.tables import Cell, Column, Part, Table, numbers

__all__ = ["answer_table", "comparison_table", "cost_table", "measure_table"]

Row = Mapping[str, Any]
_UNITS = {"percent": " (%)", "points": " (points)"}
_COSTS = (
    "training_flops", "trainable_parameters", "seconds", "exemplar_bytes", "bytes_per_item", "backfill",
)  # fmt: skip


def answer_table(rows: Sequence[Row], outcome: Outcome, styles: Mapping[str, Style]) -> Table:
    """The score of each method with its interval, what tuning chose and whether the limits are met."""
    primary, limits = outcome["primary"], outcome["constraints"]
    axis = axis_over(row["score"][key] for row in rows for key in ("low", "mean", "high"))
    tuned = any(row["params"] for row in rows)
    columns = [
        Column("method", "name"),
        *numbers(f"{primary} (%)", "95 % interval"),
        Column("", "drawing", head(axis)),
        *numbers("replicates"),
        *(
            [Column("within " + ", ".join(f"{k}\u00a0≤\u00a0{setting(v)}" for k, v in limits.items()))]
            if limits
            else []
        ),
        *([Column("chosen by tuning")] if tuned else []),
    ]

    def line(row: Row) -> list[Cell]:
        score, style = row["score"], styles[row["label"]]
        return [
            Cell(row["label"], note=_kind(row)),
            Cell(number(score["mean"]), note=_spread(score["sd"])),
            Cell(_range(score["low"], score["high"])),
            Cell("", drawing=interval(axis, score["low"], score["mean"], score["high"], style)),
            Cell(str(row["n"])),
            *([Cell({True: "yes", False: "no", None: "–"}[row["feasible"]])] if limits else []),
            *(
                [Cell(", ".join(f"{k} = {setting(v)}" for k, v in row["params"].items()) or "–")]
                if tuned
                else []
            ),
        ]

    spread = any(row["score"]["sd"] is not None for row in rows)
    caption = (
        f"{_of(rows)}{primary} after the last domain, mean over {len(outcome['domains'])} domains, "
        f"test split, best first{'; ± is one standard deviation over replicates' if spread else ''}."
    )
    return Table(caption, columns, _parts(rows, line))


def measure_table(rows: Sequence[Row], outcome: Outcome) -> Table | None:
    """The other measures of the same rows, apart from costs; None if none is defined."""
    # After the last domain all have been seen: `seen` would repeat the score.
    names = [n for n in _defined(rows) if n not in (*_COSTS, "final", "seen", outcome["primary"])]
    if not names:
        return None
    titles = numbers(*map(_title, names))
    parts = _parts(rows, lambda row: [Cell(row["label"]), *(_measure(row, name) for name in names)])
    return Table(
        f"{_of(rows)}other measures" if rows[0]["group"] else "Other measures of the same runs",
        [Column("method", "name"), *titles],
        parts,
    )


def _parts(rows: Sequence[Row], line: Callable[[Row], list[Cell]]) -> list[Part]:
    """Contenders first; bounds and controls in a part of their own."""
    contenders = [line(row) for row in rows if is_contender(row)]
    others = [line(row) for row in rows if not is_contender(row)]
    found = [Part(contenders), Part(others, "To compare with: bounds and controls", quiet=True)]
    return [part for part in found if part.rows]


def _of(rows: Sequence[Row]) -> str:
    return f"{rows[0]['group']}: " if rows[0]["group"] else ""


def comparison_table(entries: Sequence[Row], styles: Mapping[str, Style], caption: str) -> Table:
    """Differences of pairs with their intervals, contenders first, then tuned against default."""
    axis = axis_over((entry[key] for entry in entries for key in ("low", "difference", "high")), 0.0)
    columns = [
        Column("comparison", "name"),
        *numbers("difference (points)", "95 % interval"),
        Column("", "drawing", head(axis)),
        *numbers("p (Holm)"),
        Column("significant?"),
    ]

    def line(entry: Row) -> list[Cell]:
        low, middle, high = entry["low"], entry["difference"], entry["high"]
        style = styles.get(entry["a"], Style("#222222", "o", "-", 1.0))
        return [
            Cell(f"{entry['a']} − {entry['b']}"),
            Cell(signed(middle)),
            Cell("–" if low is None else f"{signed(low)} to {signed(high)}"),
            Cell("", drawing=interval(axis, low, middle, high, style, zero=True)),
            Cell(_p(entry["p_holm"])),
            Cell("yes" if entry["real"] else "no"),
        ]

    families = (("contenders", "Methods against each other"), ("tuning", "Tuned against its own default"))
    known = [(title, [e for e in entries if e["family"] == family]) for family, title in families]
    parts = [Part([line(entry) for entry in found], title) for title, found in known if found]
    return Table(caption, columns, parts, tall=len(entries) > 24)


def cost_table(rows: Sequence[Row], caption: str) -> Table | None:
    """What each method costs, with bars relative to the most expensive; None if nothing was counted."""
    names = [name for name in _COSTS if name in _defined(rows)]
    if not names:
        return None
    most = {name: max(abs(row["measures"][name]["mean"]) for row in rows if _mean(row, name) is not None)
            for name in names}  # fmt: skip
    titles = [Column(_title(name), "bar") for name in names]

    def cell(row: Row, name: str) -> Cell:
        value = _mean(row, name)
        share = None if value is None else abs(value) / most[name] if most[name] else 0.0
        return Cell(text(name, value), bar=share)

    lines = [[Cell(row["label"], note=_kind(row)), *(cell(row, n) for n in names)] for row in rows]
    return Table(caption, [Column("method", "name"), *titles], [Part(lines)])


def _title(name: str) -> str:
    """The head of a measure's column, with its unit."""
    measure = describe(name)
    return measure.title + _UNITS.get(measure.unit, "")


def _defined(rows: Sequence[Row]) -> list[str]:
    """The measures that at least one row has: ours in their order, then retrieval metrics."""
    names = dict.fromkeys([*MEASURES, *(name for row in rows for name in row["measures"])])
    return [name for name in names if any(_mean(row, name) is not None for row in rows)]


def _mean(row: Row, name: str) -> float | None:
    entry = row["measures"].get(name)
    return None if entry is None else entry["mean"]


def _measure(row: Row, name: str) -> Cell:
    mean = _mean(row, name)
    if mean is None:
        return Cell("–")
    sd = row["measures"][name]["sd"]
    measure = describe(name)
    digits = 2 if measure.unit == "share" else 1
    return Cell(signed(mean) if measure.signed else text(name, mean), note=_spread(sd, digits))


def _kind(row: Row) -> str:
    if row["bound"]:
        return "upper bound"
    # Most labels say it themselves.
    return "" if row["kind"] in row["label"] else str(row["kind"])


def _spread(sd: float | None, digits: int = 1) -> str:
    return "" if sd is None else f"± {number(sd, digits)}"


def _range(low: float | None, high: float | None) -> str:
    return "–" if low is None or high is None else f"{number(low)} to {number(high)}"


def _p(p: float | None) -> str:
    if p is None:
        return "–"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
