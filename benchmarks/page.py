"""docs/performance.md from results.json: a table, and in words how it was measured."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.accuracy_table import accuracies, formulas
from benchmarks.harness import REPEATS, ROOT, THREADS

#: In the order of the page.
MODULES = (
    "combiner",
    "words",
    "lora",
    "adapters",
    "text",
    "sweep",
    "demo",
    "ranking",
    "post_processing",
    "views",
    "overhead",
    "tracking",
    "workers",
    "reading",
    "tables",
    "peers_accuracy",
    "peers_mammoth",
    "peers_vit",
    "peers_clip",
    "peers_formulas",
)
#: The modules whose rows are accuracies: beside Avalanche's, beside Mammoth's.
ACCURACY = ("peers_accuracy", "peers_mammoth", "peers_vit", "peers_clip")
#: The modules that need Mammoth's code.
MAMMOTH = ("peers_mammoth", "peers_vit", "peers_clip", "peers_formulas")
#: The others, whose rows are times.
TIMES = tuple(name for name in MODULES if name not in (*ACCURACY, "peers_formulas"))
RESULTS = Path(__file__).with_name("results.json")
PAGE = ROOT / "docs" / "performance.md"

HEAD = """# How fast it is

Each row does the same work twice: with clplat, and as a plain loop in the manner of the public codes
(`benchmarks/`), with the same model and data. The last ones compare clplat with itself: with and
without tracking, with two workers and with one.
"""

TAIL = f"""## How it is measured

    make bench                            # everything: the better part of an hour on two cores
    python -m benchmarks combiner text    # some of it

writes `benchmarks/results.json` and this page. The two sides run in turns in one process with {THREADS}
threads; times are medians of at least {REPEATS} turns after one that does not count, of the sweep of one run,
of post-processors of one turn.
Ratios carry over to other machines better than seconds do. A busy machine disturbs both; there,
`OMP_WAIT_POLICY=PASSIVE make bench` keeps threads from spinning while they wait for each other. Nothing is
downloaded: the model has ViT-B/32's shape and random weights (rows that say clplat-tiny use the shipped one),
pictures and captions are synthetic, of true sizes. Peak memory is that of a process that runs our side alone,
libraries and inputs included.

**Peers.** Written by us after the public codes' way of working, and given what helps them: their pictures are
decoded and normalised already, and they run on the same torch. CLIP4Cir's stage 2 encodes with the frozen
CLIP in each step; towers are trained by open_clip's own forward with PEFT around it; captions always have 77
positions; CIRR is scored by sorting everything and comparing names.

**What is kept.** The rows on kept features do not contain the making of the features, which happens once for
all epochs, trials and strategies on a machine; the sweep does contain it.
"""


def render(results: Mapping[str, Any]) -> str:
    """The page, of what was measured so far."""
    results = {name: results[name] for name in MODULES if name in results}
    rows = [row for name, module in results.items() if name in TIMES for row in module["rows"]]
    lines = [
        "| what | ratio | target | met | clplat | peer | peak MB | note |",
        "|---|---|---|---|---|---|---|---|",
        *(_line(row) for row in rows),
    ]
    missed = [row["what"] for row in rows if not row["met"]]
    verdict = f"Not met: {'; '.join(missed)}. The notes say more." if missed else "All targets are met."
    peers = [results[name]["rows"] if name in results else [] for name in ACCURACY]
    beside = accuracies(*peers) if any(peers) else ""
    if "peers_formulas" in results:
        beside += formulas(results["peers_formulas"]["rows"])
    return f"{HEAD}\n" + "\n".join(lines) + f"\n\n{verdict}\n\n{TAIL}\n{beside}{_machines(results)}\n"


def _line(row: Mapping[str, Any]) -> str:
    cells = (
        row["what"],
        f"{_number(row['ratio'])}x",
        row["target"],
        "yes" if row["met"] else "**no**",
        _seconds(row["ours_seconds"]),
        _seconds(row["peer_seconds"]),
        f"{row['peak_mb']:,.0f}" if row["peak_mb"] else "",
        row["note"],
    )
    return f"| {' | '.join(cells)} |"


def _machines(results: Mapping[str, Any]) -> str:
    """Where and when, once for all modules that share it."""
    measured: dict[str, list[str]] = {}
    for name, module in results.items():
        versions = ", ".join(
            f"{library} {version}" for library, version in sorted(module["libraries"].items())
        )
        where = f"{module['date']}: {module['cpu']}, {module['cores']} cores; {versions}."
        measured.setdefault(where, []).append(name)
    return "\n\n".join(f"Measured ({', '.join(names)}) {where}" for where, names in measured.items())


def _number(value: float) -> str:
    """Three digits, more where they stand before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _seconds(value: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if value >= size:
            return f"{_number(value / size)} {unit}"
    return f"{_number(value / 1e-6)} µs"
