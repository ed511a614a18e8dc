"""The answer in tables: methods with intervals, which differences are significant, what each method costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from clplat.formats import number, setting, signed, text
from clplat.measures import MEASURES, describe
from clplat.plots.styles import Style
from clplat.report.outcome import Outcome, Row, is_contender, settings_text
from clplat.report.tables import Axis, Cell, Column, Interval, Part, Table
from clplat.tables.sweep import meets_limits

__all__ = ["answer_table", "comparison_table", "cost_table", "measure_tables"]

_UNITS = {"percent": " (%)", "points": " (points)"}
_COSTS = (
    "training_flops", "trainable_parameters", "seconds", "exemplar_bytes", "bytes_per_item", "backfill",
)  # fmt: skip


def answer_table(rows: Sequence[Row], outcome: Outcome, styles: Mapping[str, Style]) -> Table:
    """The score of each method with its interval, what tuning chose and whether the limits are met."""
    primary, limits = outcome["primary"], outcome["constraints"]

    def interval(row: Row) -> Interval:
        score = row["score"]
        style = styles.get(row["label"], Style("#222222", "o"))  # chance has none
        return Interval(score["low"], score["mean"], score["high"], style)

    columns = [
        Column("method", _method, "name"),
        Column(f"{primary} (%)", lambda row: _with_spread(row["score"], number), "number"),
        *_interval_columns(rows, interval, number),
        Column("replicates", lambda row: str(row["n"]), "number"),
    ]
    if limits:
        within = ", ".join(
            f"{name}\u00a0{describe(name).within}\u00a0{setting(v)}" for name, v in limits.items()
        )
        chance = {row["label"] for row in _chance(rows)}
        met = partial(meets_limits, limits=limits)
        columns.append(Column(f"within {within}", lambda row: "–" if row["label"] in chance else met(row)))
    if any(row["params"] for row in rows):
        columns.append(Column("chosen by tuning", lambda row: settings_text(row["params"])))
    spread = any(row["score"]["sd"] is not None for row in rows)
    splits = sorted({row["split"] for row in rows if "split" in row})  # older outcomes do not say it
    caption = (
        f"{rows[0]['group']}{': ' if rows[0]['group'] else ''}{primary} after the last domain, mean over "
        f"{len(outcome['domains'])} domains{''.join(f', {split} split' for split in splits)}, best first"
        f"{'; ± is one standard deviation over replicates' if spread else ''}."
    )
    return Table(caption, columns, _parts(rows, _chance(rows)), stacked=True)


def _chance(rows: Sequence[Row]) -> list[Row]:
    """A row for an order at random, to compare with."""
    known = next((row["chance"] for row in rows if row.get("chance") is not None), None)
    score = {"mean": known, "sd": None, "low": None, "high": None}
    empty = {"kind": "chance", "bound": False, "n": "–", "feasible": None, "params": {}}
    return [] if known is None else [{"label": "chance", "score": score, **empty}]


def measure_tables(rows: Sequence[Row], outcome: Outcome) -> list[Table]:
    """The other measures of the same rows, apart from costs, and the other metrics of the same queries."""
    # After the last domain all have been seen: `seen` would repeat the score.
    names = [n for n in _defined(rows) if n not in (*_COSTS, "final", "seen", outcome["primary"])]
    found = []
    for words, known in (("other measures", True), ("other metrics", False)):
        columns = [Column("method", lambda row: str(row["label"]), "name")]
        columns += [
            Column(_title(name), partial(_measure, name), "number")
            for name in names
            if (name in MEASURES) is known
        ]
        if len(columns) > 1:
            found.append(Table(_caption(rows, f"{words} of the same runs"), columns, _parts(rows)))
    return found


def comparison_table(entries: Sequence[Row], styles: Mapping[str, Style]) -> Table:
    """Differences of pairs with their intervals, by family, contenders first."""

    def interval(entry: Row) -> Interval:
        style = styles.get(entry["a"], Style("#222222", "o"))
        return Interval(entry["low"], entry["difference"], entry["high"], style)

    columns = [
        Column("comparison", lambda entry: f"{entry['a']} − {entry['b']}", "name"),
        Column("difference (points)", lambda entry: signed(entry["difference"]), "number"),
        *_interval_columns(entries, interval, signed, zero=True),
        Column("p (Holm)", lambda entry: _p(entry["p_holm"]), "number"),
        Column("significant?", lambda entry: "yes" if entry["real"] else "no"),
    ]
    families = (
        ("contenders", "Methods against each other"),
        ("untrained", "Methods against the model that they began with"),
        ("tuning", "Tuned against its own default"),
    )
    parts = [Part([e for e in entries if e["family"] == family], title) for family, title in families]
    caption = _caption(entries, "paired differences on equal seeds, stream orders and queries")
    return Table(caption, columns, [p for p in parts if p.rows], tall=len(entries) > 24, stacked=True)


def cost_table(rows: Sequence[Row]) -> Table | None:
    """What each method costs, with bars relative to the most expensive; None if nothing was counted."""
    names = [name for name in _COSTS if name in _defined(rows)]
    most = {name: max(abs(_mean(row, name) or 0.0) for row in rows) for name in names}

    def cost(name: str, row: Row) -> Cell:
        value = _mean(row, name)
        return Cell(text(name, value), bar=None if value is None else abs(value) / (most[name] or 1.0))

    columns = [Column("method", _method, "name")]
    columns += [Column(_title(name), partial(cost, name), "bar") for name in names]
    return Table(_caption(rows, "costs of a run"), columns, [Part(rows)]) if names else None


def _interval_columns(
    rows: Sequence[Row],
    interval: Callable[[Row], Interval],
    write: Callable[[float], str],
    zero: bool = False,
) -> list[Column]:
    """The interval of each row in words, and drawn."""
    axis = Axis.over((value for r in map(interval, rows) for value in (r.low, r.mean, r.high)), zero)

    def words(row: Row) -> str:
        low, high = interval(row).low, interval(row).high
        return "–" if low is None or high is None else f"{write(low)} to {write(high)}"

    return [
        Column("95 % interval", words, "number"),
        Column("", lambda row: Cell("", interval=interval(row)), "drawing", axis),
    ]


def _measure(name: str, row: Row) -> Cell:
    if _mean(row, name) is None:
        return Cell("–")
    measure = describe(name)
    digits = 2 if measure.unit == "share" else 1
    return _with_spread(row["measures"][name], signed if measure.signed else partial(text, name), digits)


def _with_spread(
    entry: Mapping[str, float | None], write: Callable[[float | None], str], digits: int = 1
) -> Cell:
    """A mean, and behind it its standard deviation over replicates."""
    sd = entry["sd"]
    return Cell(write(entry["mean"]), note="" if sd is None else f"± {number(sd, digits)}")


def _parts(rows: Sequence[Row], further: Sequence[Row] = ()) -> list[Part]:
    """Contenders first; bounds and controls in a part of their own, ``further`` among them."""
    contenders = Part([row for row in rows if is_contender(row)])
    others = [row for row in rows if not is_contender(row)] + list(further)
    parts = [contenders, Part(others, "To compare with: bounds and controls", quiet=True)]
    return [part for part in parts if part.rows]


def _caption(entries: Sequence[Row], words: str) -> str:
    return f"{group}: {words}" if (group := entries[0]["group"]) else words.capitalize()


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


def _method(row: Row) -> Cell:
    kind = "upper bound" if row["bound"] else str(row["kind"])
    return Cell(row["label"], note="" if kind in row["label"] else kind)  # most labels say it themselves


def _p(p: float | None) -> str:
    return number(p, 3) if p is None or p >= 0.001 else "< 0.001"
