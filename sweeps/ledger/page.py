"""results/ledger/<stream>.json, the figures, and docs/ledger.md, which is written from these files alone."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from clplat.files import write_text
from clplat.tables.text import markdown, mean_text
from sweeps.ledger.figure import draw
from sweeps.ledger.published import Published, days
from sweeps.ledger.reasons import read_reasons
from sweeps.ledger.study import read_studies, section

__all__ = ["ROOT", "page", "publish", "read_entries", "table", "write_page"]

ROOT = Path(__file__).resolve().parents[2]
RESULTS = Published(Path("results") / "ledger")
HEAD = (
    "system", "family", "final", "95 %", "forgets", "learns", "against", "difference", "trained", "kept",
    "rate", "passes", "between", "CPU s", "n",
)  # fmt: skip
TEXT = """# Ledger of all systems

<!-- Written by `python sweeps/every_system.py --publish` from results/ledger/ and, without runs, anew by
`--page`; do not edit. -->

Every recipe about a stream of domains, run side by side at equal budget: the same triplets, epochs and batch
size, whatever the paper uses, and the recipe's own options. Small streams and small models: they show that a
system works and what it costs, not how it ranks at its paper's size. A recipe that lands joins by the rules
in `sweeps/ledger/systems.py`, `twins.py` and `rates.py`.

- **final**: the primary metric after the last domain, percent, mean over domains and replicates; **95 %** its
  interval over trainings and queries ([statistics.md](statistics.md)). Seed i runs in order i modulo 2.
- **forgets**: a domain's best value since its training minus its last one, points; **learns**: its value
  right after its training.
- **against**: plain training of the same parts. Of a strategy: `naive` with them, also with the adapter or
  prompt that it brings itself. Of a part that is the whole idea: the same without it, such as one expert in
  place of many; where that leaves nothing, whole towers, or behind frozen towers `linear_probe`. Of what
  trains nothing: `frozen`. Twins, `naive, as NAME`, stand against `naive` as the baselines do.
  **difference**: final minus that of the twin, points, paired by seed, order and query; a star where its 95 %
  interval leaves 0 out, not corrected for the number of systems: of a hundred equal ones five have it.
- **rate**: learning rate, one for each kind of what is trained ([below](#learning-rates)) on a stream, that a
  row shares with its twin; a recipe that names one keeps it.
- **trained**: most numbers trained at once; **kept**: exemplars and state beside the model, in bytes.
- **passes**: floating-point operations of a step, of those of the twin, mean over the stream: a batch forward
  and backward is 1, a further forward pass about a third. What comes out of the feature store costs nothing.
- **between**: what is done between the steps of a domain (importances, prototypes, trials), in steps of the
  twin, matrix products alone; a domain has nine steps. A dash: it ran before that was counted.
- **CPU s**: the seconds of a run, measured on cores that did other work as well.
"""


def publish(
    entries: Sequence[dict[str, Any]], root: Path = ROOT, known: Collection[str] | None = None
) -> None:
    """Write the entries with earlier rows of the ``known``, their figures, and the page of all there are."""
    for found in entries:
        entry = RESULTS.write(found, root, known)
        if any("score" in row for row in entry["rows"]):
            draw(entry, root / "docs" / "images" / f"ledger-{entry['stream']}.png")
    write_page(root)


def write_page(root: Path = ROOT) -> None:
    """Write the page anew from the entries and reasons that are committed."""
    write_text(root / "docs" / "ledger.md", page(read_entries(root)))


def read_entries(root: Path = ROOT) -> list[dict[str, Any]]:
    """All entries, by name of the stream."""
    return RESULTS.entries(root)


def page(entries: Sequence[Mapping[str, Any]]) -> str:
    """The page in Markdown."""
    sections = [_section(entry) for entry in entries]
    return (
        "\n".join([TEXT, *("\n".join(lines) for lines in [*sections, section(read_studies(ROOT))])]).rstrip()
        + "\n"
    )


def _section(entry: Mapping[str, Any]) -> list[str]:
    rows = entry["rows"]
    measured = [row for row in rows if "score" in row]
    whole = sum(row["n"] == len(entry["seeds"]) for row in rows)
    seeds = ", ".join(map(str, entry["seeds"]))
    lines = [
        f"## {entry['stream'].capitalize()}",
        "",
        f"{entry['about'][0].upper()}{entry['about'][1:]}. Primary metric {entry['primary']}; seeds {seeds}; "
        f"orders {'; '.join(' → '.join(order) for order in entry['orders'])}. Measured {days(entry)}, "
        f"torch {entry['versions']['torch']}. {whole} of {len(rows)} rows have all replicates.",
        "",
    ]
    if not measured:
        return [*lines, "Nothing of it has run yet.", ""]
    if min(row["n"] for row in measured) == 1:
        one = "Where n is 1 an interval is about the choice of queries alone: it compares two trained models."
        lines += [f"**Not complete.** {one}", ""]
    return [
        *lines,
        f"![Final recall, forgetting and trained parameters](images/ledger-{entry['stream']}.png)",
        "",
        *table(sorted(measured, key=lambda row: -row["score"]["mean"])),
        "",
        *_lower(measured),
        *_inputs(measured),
        *_failures(rows),
    ]


def table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Rows of an entry as Markdown."""
    return [markdown(HEAD, [_cells(row) for row in rows], 2)]


def _cells(row: Mapping[str, Any]) -> list[str]:
    score, found, costs = row["score"], row["measures"], row["costs"]
    difference = row["difference"]
    apart = difference and (difference["low"] > 0 or difference["high"] < 0)
    change = f"{difference['mean']:+.1f}{'*' if apart else ''}" if difference else "–"
    kept = (_mean(found["exemplar_bytes"]) or 0.0) + costs["state_bytes"]
    return [
        _named(row),
        row["family"].replace("_", " ") or ("–" if row["kind"] == "twin" else "baseline"),
        mean_text(score["mean"], 1, score["sd"]),
        f"{score['low']:.0f} to {score['high']:.0f}",
        mean_text(_mean(found["forgetting"]), 1),
        mean_text(_mean(found["plasticity"]), 1),
        _against(row),
        change,
        _short(_mean(found["trainable_parameters"])),
        _short(kept),
        f"{row['rate']:g}",
        mean_text(row["passes"], 2),
        mean_text(row.get("between"), 1),
        mean_text(row["cpu_seconds"], 0),
        str(row["n"]),
    ]


def _named(row: Mapping[str, Any]) -> str:
    """The name of a row, and of the recipes that are the same."""
    own = f"`{row['system']}`" if row["kind"] == "recipe" else row["system"]
    return ", ".join([own, *(f"`{name}`" for name in row["same"])])


def _against(row: Mapping[str, Any]) -> str:
    if row["system"] == row["against"]:
        return "–"
    name = row["against"].removeprefix("naive, ")
    return name or "nothing is plainer"


def _lower(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Which systems are below plain training of the same parts, and why where that is known."""
    found = [
        row for row in rows if row["kind"] == "recipe" and (row["difference"] or {"mean": 0.0})["mean"] < 0
    ]
    found.sort(key=lambda row: row["difference"]["mean"])
    reasons = read_reasons()
    known = [f"- {_below(row)}: {reasons[row['system']]}" for row in found if row["system"] in reasons]
    rest = [row for row in found if row["system"] not in reasons]
    told = [_below(row) for row in rest if row["difference"]["high"] < 0]
    same = [_below(row) for row in rest if row["difference"]["high"] >= 0]
    return [
        "**Below plain training of the same parts**, and why; a star where the interval leaves 0 out.",
        "",
        *known,
        *([f"- Not known of: {', '.join(told)}."] if told else []),
        *([f"- Not told from it: {', '.join(same)}."] if same else []),
        *(["None is."] if not found else []),
        "",
    ]


def _below(row: Mapping[str, Any]) -> str:
    difference = row["difference"]
    return f"`{row['system']}` ({difference['mean']:+.1f}{'*' if difference['high'] < 0 else ''})"


def _inputs(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    said: dict[str, list[str]] = {}
    for row in rows:
        for one in row["extra"]:
            said.setdefault(one, []).append(f"`{row['system']}`")
    lines = [f"- {one}: {', '.join(names)}" for one, names in said.items()]
    return (
        ["**Inputs beyond the triplets**, with the offline stand-in that a recipe names:", "", *lines, ""]
        if lines
        else []
    )


def _failures(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    failed = [
        f"- `{row['system']}`, {len(row['failed'])} of its runs: {row['failed'][0]}"
        for row in rows
        if row["failed"]
    ]
    lines = ["**Failed**:", "", *failed, ""] if failed else []
    some = [f"`{row['system']}`" for row in rows if row["missing"] and row["n"]]
    none = [f"`{row['system']}`" for row in rows if row["missing"] and not row["n"]]
    for what, names in (("Replicates are missing", some), ("Not yet run at all", none)):
        lines += [f"**{what}** ({len(names)}): {', '.join(names)}.", ""] if names else []
    return lines


def _mean(entry: Mapping[str, Any] | None) -> float | None:
    return None if entry is None else float(entry["mean"])


def _short(count: float | None) -> str:
    """A large number in few letters.

    Example:
        >>> _short(977952), _short(200), _short(0)
        ('978 k', '200', '0')
    """
    for scale, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if count and count >= scale:
            return f"{count / scale:.3g}{unit}"
    return f"{count or 0:.0f}"
