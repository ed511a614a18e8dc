"""The answer in tables: methods with intervals, which differences are significant, what each method costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from clplat.formats import number, setting, signed, text
from clplat.measures import MEASURES, describe
from clplat.plots.forest import axis_over, head, interval
from clplat.plots.styles import Style
from clplat.report.outcome import Outcome, Row, is_contender
from clplat.report.tables import Cell, Column, Part, Table

__all__ = ["answer_table", "comparison_table", "cost_table", "measure_table"]

_UNITS = {"percent": " (%)", "points": " (points)"}
_COSTS = (
    "training_flops", "trainable_parameters", "seconds", "exemplar_bytes", "bytes_per_item", "backfill",
)  # fmt: skip
_METHOD = Column("method", lambda row: Cell(row["label"], note=_kind(row)), "name")


def answer_table(rows: Sequence[Row], outcome: Outcome, styles: Mapping[str, Style]) -> Table:
    """The score of each method with its interval, what tuning chose and whether the limits are met."""
    primary, limits = outcome["primary"], outcome["constraints"]
    axis = axis_over(row["score"][key] for row in rows for key in ("low", "mean", "high"))

    def mean(row: Row) -> Cell:
        return Cell(number(row["score"]["mean"]), note=_spread(row["score"]["sd"]))

    def drawing(row: Row) -> Cell:
        reach = [row["score"][key] for key in ("low", "mean", "high")]
        return Cell("", drawing=interval(axis, reach, styles[row["label"]]))

    def reach(row: Row) -> str:
        return _range(row["score"]["low"], row["score"]["high"], number)

    def chosen(row: Row) -> str:
        return ", ".join(f"{k} = {setting(v)}" for k, v in row["params"].items()) or "–"

    columns = [
        _METHOD,
        Column(f"{primary} (%)", mean, "number"),
        Column(
            "95 % interval", lambda row: _range(row["score"]["low"], row["score"]["high"], number), "number"
        ),
        Column("", drawing, "drawing", head(axis)),
        Column("replicates", lambda row: str(row["n"]), "number"),
    ]
    if limits:
        within = ", ".join(f"{name}\u00a0≤\u00a0{setting(limit)}" for name, limit in limits.items())
        met = {True: "yes", False: "no", None: "–"}
        columns.append(Column(f"within {within}", lambda row: met[row["feasible"]]))
    if any(row["params"] for row in rows):
        columns.append(Column("chosen by tuning", chosen))
    spread = any(row["score"]["sd"] is not None for row in rows)
    caption = (
        f"{_of(rows)}{primary} after the last domain, mean over {len(outcome['domains'])} domains, "
        f"test split, best first{'; ± is one standard deviation over replicates' if spread else ''}."
    )
    return Table(caption, columns, _parts(rows))


def measure_table(rows: Sequence[Row], outcome: Outcome) -> Table | None:
    """The other measures of the same rows, apart from costs; None if none is defined."""
    # After the last domain all have been seen: `seen` would repeat the score.
    names = [n for n in _defined(rows) if n not in (*_COSTS, "final", "seen", outcome["primary"])]
    columns = [
        Column("method", lambda row: str(row["label"]), "name"),
        *(Column(_title(name), _measure(name), "number") for name in names),
    ]
    caption = f"{_of(rows)}other measures" if rows[0]["group"] else "Other measures of the same runs"
    return Table(caption, columns, _parts(rows)) if names else None


def comparison_table(entries: Sequence[Row], styles: Mapping[str, Style], caption: str) -> Table:
    """Differences of pairs with their intervals, contenders first, then tuned against default."""
    axis = axis_over((entry[key] for entry in entries for key in ("low", "difference", "high")), 0.0)

    def drawing(entry: Row) -> Cell:
        style = styles.get(entry["a"], Style("#222222", "o", "-", 1.0))
        reach = [entry[key] for key in ("low", "difference", "high")]
        return Cell("", drawing=interval(axis, reach, style, zero=True))

    columns = [
        Column("comparison", lambda entry: f"{entry['a']} − {entry['b']}", "name"),
        Column("difference (points)", lambda entry: signed(entry["difference"]), "number"),
        Column("95 % interval", lambda entry: _range(entry["low"], entry["high"], signed), "number"),
        Column("", drawing, "drawing", head(axis)),
        Column("p (Holm)", lambda entry: _p(entry["p_holm"]), "number"),
        Column("significant?", lambda entry: "yes" if entry["real"] else "no"),
    ]
    families = (("contenders", "Methods against each other"), ("tuning", "Tuned against its own default"))
    parts = [Part([e for e in entries if e["family"] == family], title) for family, title in families]
    return Table(caption, columns, [part for part in parts if part.rows], tall=len(entries) > 24)


def cost_table(rows: Sequence[Row], caption: str) -> Table | None:
    """What each method costs, with bars relative to the most expensive; None if nothing was counted."""
    names = [name for name in _COSTS if name in _defined(rows)]
    columns = [_METHOD, *(Column(_title(name), _cost(name, rows), "bar") for name in names)]
    return Table(caption, columns, [Part(rows)]) if names else None


def _cost(name: str, rows: Sequence[Row]) -> Callable[[Row], Cell]:
    most = max(abs(mean) for row in rows if (mean := _mean(row, name)) is not None)

    def cell(row: Row) -> Cell:
        value = _mean(row, name)
        share = None if value is None else abs(value) / most if most else 0.0
        return Cell(text(name, value), bar=share)

    return cell


def _measure(name: str) -> Callable[[Row], Cell]:
    measure = describe(name)

    def cell(row: Row) -> Cell:
        mean = _mean(row, name)
        if mean is None:
            return Cell("–")
        digits = 2 if measure.unit == "share" else 1
        shown = signed(mean) if measure.signed else text(name, mean)
        return Cell(shown, note=_spread(row["measures"][name]["sd"], digits))

    return cell


def _parts(rows: Sequence[Row]) -> list[Part]:
    """Contenders first; bounds and controls in a part of their own."""
    contenders = Part([row for row in rows if is_contender(row)])
    others = [row for row in rows if not is_contender(row)]
    parts = [contenders, Part(others, "To compare with: bounds and controls", quiet=True)]
    return [part for part in parts if part.rows]


def _of(rows: Sequence[Row]) -> str:
    return f"{rows[0]['group']}: " if rows[0]["group"] else ""


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


def _kind(row: Row) -> str:
    if row["bound"]:
        return "upper bound"
    # Most labels say it themselves.
    return "" if row["kind"] in row["label"] else str(row["kind"])


def _spread(sd: float | None, digits: int = 1) -> str:
    return "" if sd is None else f"± {number(sd, digits)}"


def _range(low: float | None, high: float | None, write: Callable[[float], str]) -> str:
    return "–" if low is None or high is None else f"{write(low)} to {write(high)}"


def _p(p: float | None) -> str:
    if p is None:
        return "–"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
