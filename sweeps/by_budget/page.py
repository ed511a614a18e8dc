"""results/adapters_by_budget/, the figures, and docs/adapters.md, which is written from these files alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clplat.files import write_text
from clplat.tables.text import markdown, mean_text
from sweeps.by_budget.answers import answers
from sweeps.by_budget.cells import FROZEN, REFERENCE
from sweeps.by_budget.figure import MEASURES, draw
from sweeps.by_budget.reading import Line, Row, final, flops, kept, lines_of, measured
from sweeps.by_budget.sizes import BUDGETS
from sweeps.ledger.page import ROOT
from sweeps.ledger.published import Published, days

__all__ = ["page", "publish", "publish_latency", "read_entries", "read_latency", "write_page"]

RESULTS = Published(Path("results") / "adapters_by_budget")
_HEAD = (
    "adapter or prompt", "size", *(f"{100 * budget:g} %" for budget in BUDGETS), "one size", "equal FLOPs",
    "FLOPs", "ms", "merges", "n",
)  # fmt: skip
TEXT = """# Which adapter for which budget

<!-- Written by `python sweeps/every_adapter.py --publish` from results/adapters_by_budget/ and, without runs,
anew by `--page`; do not edit. -->

Every adapter and prompt, as a part with its defaults (`adapter vera`, `prompt deep`) and as the recipes that
name it, is trained plainly (`naive`) on the streams of the [ledger](ledger.md), with half of the ledger's
triplets in batches half as large. Small streams, small models and one rate for each kind of what is trained:
the page tells what a budget buys at this size, and no rank at the size of a paper.

- **1 %**, **3 %**, **10 %**: the primary metric after the last domain, percent, mean over domains, and in
  brackets what is kept of zero-shot retrieval and classification, percent of before training. The size of
  each part (**size**: its rank, length, units, ...) is the one whose trained numbers are nearest to that
  share of all weights of both towers, the table of words included; they are counted, and a size further
  off than half as much again is none. A rank takes its alpha with it, so that the scale stays.
- **one size**: of what no option brings to a budget, as it comes, with its share of the weights.
- **equal FLOPs**: what is trained at 3 % or has one size, with as many epochs as cost what LoRA at 3 % costs
  in training (at least one, at most ten times the stream's); without mark where that is the same run.
  **FLOPs**: of the stream's own epochs, in those of LoRA at 3 %. What comes out of the feature store costs
  nothing: readouts behind frozen towers train for very little.
- **ms**: time of one query with the adapter attached, in that of the bare model, batch 1. One that
  **merges** costs nothing once that is done.
- **n**: seeds. With one, of a few hundred queries, differences of up to about three points are noise.
- Learning rates are those of the [ledger](ledger.md#learning-rates), one for each kind of what is trained;
  what keeps the towers and trains few numbers has that of low ranks.
"""


def publish(entries: Sequence[dict[str, Any]], root: Path = ROOT) -> None:
    """Write the entries, and the figures and the page of all that there is."""
    for entry in entries:
        RESULTS.write(entry, root)
    _draw(root)
    write_page(root)


def publish_latency(found: Mapping[str, Any], root: Path = ROOT) -> None:
    """Write what queries take, and the figures and the page anew."""
    RESULTS.write_latency({"sources": found}, root)
    _draw(root)
    write_page(root)


def _draw(root: Path) -> None:
    timed = read_latency(root).get("sources", {})
    for entry in read_entries(root):
        for measure in MEASURES if measured(entry) else ():
            draw(entry, timed, measure, root / "docs" / "images" / _figure(entry, measure))


def write_page(root: Path = ROOT) -> None:
    """Write the page anew from what is committed."""
    write_text(root / "docs" / "adapters.md", page(read_entries(root), read_latency(root)))


def read_entries(root: Path = ROOT) -> list[dict[str, Any]]:
    """All entries, by name of the stream."""
    return RESULTS.entries(root)


def read_latency(root: Path = ROOT) -> dict[str, Any]:
    """What was timed; nothing where nothing was."""
    return RESULTS.latency(root)


def page(entries: Sequence[Mapping[str, Any]], latency: Mapping[str, Any]) -> str:
    """The page in Markdown."""
    parts = [TEXT, *("\n".join(_section(entry, latency.get("sources", {}))) for entry in entries)]
    if latency:
        parts.append(
            "Milliseconds are medians of one process with one thread on the shipped `clplat-tiny`, timed in "
            f"turn with the bare model, which takes {latency['sources'][FROZEN]['ms']:.1f} ms. Measured "
            f"{latency['date']}, torch {latency['versions']['torch']}.\n"
        )
    return "\n".join(parts).rstrip() + "\n"


def _section(entry: Mapping[str, Any], latency: Mapping[str, Any]) -> list[str]:
    lines = lines_of(entry)
    title = entry["stream"].capitalize()
    if not lines:
        return [f"## {title}", "", "Nothing of it has run yet.", ""]
    reference = next((line.middle for line in lines if line.name == REFERENCE), None)
    pictures = [
        f"![{title}, {measure} by budget](images/{_figure(entry, measure)})\n" for measure in MEASURES
    ]
    return [
        f"## {title}",
        "",
        f"{entry['about'][0].upper()}{entry['about'][1:]}; here {entry['base']['scenario']['train']} "
        f"triplets. Primary metric {entry['primary']}; seeds {', '.join(map(str, entry['seeds']))}. Measured "
        f"{days(entry)}, torch {entry['versions']['torch']}. {_complete(entry, lines)}",
        "",
        *answers(lines, latency),
        *pictures,
        markdown(_HEAD, [_cells(line, reference, latency.get(line.name)) for line in lines], 2),
        "",
        *_failures(entry["rows"]),
    ]


def _complete(entry: Mapping[str, Any], lines: Sequence[Line]) -> str:
    run = len({name for line in lines for name in (line.name, *line.same)})
    if run >= entry["of"]:
        return f"All {run} adapters and prompts were run."
    return f"**Not complete**: {run} of {entry['of']} adapters and prompts were run."


def _cells(line: Line, reference: Row | None, timed: Mapping[str, Any] | None) -> list[str]:
    one, middle, paid = line.sized.get(None), line.middle, line.paid
    option = next((row["option"] for row in line.sized.values() if row["option"]), "").partition(".")[2]
    sizes = "/".join(str(line.sized[b]["value"]) if b in line.sized else "–" for b in BUDGETS)
    whole = flops(reference) if reference else 0.0
    merges = any(row["mergeable"] for row in line.sized.values())
    return [
        _named(line),
        f"{option} {sizes}" if option else "–",
        *(_score(line.sized.get(budget)) for budget in BUDGETS),
        f"{_score(one)} at {100 * one['share']:.2g} %" if one and one["trained"] else _score(one),
        (_score(paid) + (f", {paid['epochs']} epochs" if line.equal else "")) if paid else "–",
        f"{flops(middle) / whole:.2f}" if middle and whole else "–",
        mean_text(timed["ratio"] if timed else None, 2),
        "yes" if merges else "no",
        str(min(row["n"] for row in line.sized.values())),
    ]


def _named(line: Line) -> str:
    if not line.family:
        return f"**{line.name}**"
    return ", ".join(
        name if name.startswith(("adapter ", "prompt ")) else f"`{name}`" for name in (line.name, *line.same)
    )


def _score(row: Row | None) -> str:
    if row is None:
        return "–"
    left = kept(row)
    return f"{final(row):.1f}" + ("" if left is None else f" ({left:.0f})")


def _failures(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    failed = [f"- {row['system']}: {row['failed'][0]}" for row in rows if row["failed"]]
    waiting = list(dict.fromkeys(row["source"] for row in rows if row["missing"] and not row["n"]))
    lines = ["**Failed**:", "", *failed, ""] if failed else []
    return [*lines, *([f"**Not all sizes have run** of: {', '.join(waiting)}.", ""] if waiting else [])]


def _figure(entry: Mapping[str, Any], measure: str) -> str:
    return f"adapters-{entry['stream']}-{measure}.png"
