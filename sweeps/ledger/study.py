"""Which learning rate suits each kind of what is trained: plain training on a stream's held-out queries.

    python sweeps/every_system.py --rates --out runs/every-system

Its tables are results/ledger/rates/<stream>.json, from which `sweeps.ledger.rates.RATES` is written by hand;
a test holds them together.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from clplat.config.raw import merge
from clplat.files import read_json, write_json
from clplat.tables.text import markdown
from sweeps.ledger.jobs import Stream
from sweeps.ledger.rates import KINDS, RATES, Kind, kind_of
from sweeps.ledger.rows import entry_of
from sweeps.ledger.systems import System

__all__ = ["SEEDS", "best", "held_out", "means", "read_studies", "section", "tried", "write_study"]

FOLDER = Path("results") / "ledger" / "rates"
SEEDS = (0, 1)
#: What stands for a kind, by name.
PLAIN: dict[str, dict[str, Any]] = {
    "whole towers": {"adapter": {"name": "full"}},
    "lora": {"adapter": {"name": "lora"}},
    "lora of queries and values": {"adapter": {"name": "lora", "targets": ["q_proj", "v_proj"]}},
    "context": {"adapter": {"name": "none"}, "prompt": {"name": "context"}},
    "pool of one prefix": {
        "adapter": {"name": "none"},
        "prompt": {"name": "pool", "size": 1, "top": 1, "form": "prefix", "depth": 3},
    },
    "last projections": {"adapter": {"name": "full", "last": 0}},
    "combiner": {"adapter": {"name": "none"}, "composer": {"name": "combiner"}},
}
#: Rates that are tried, half an order apart, with the best well inside. A domain has nine steps, in which
#: prompts that are drawn must go a long way.
TRIED: dict[str, dict[Kind, tuple[float, ...]]] = {
    "catalogue": {
        "towers": (3e-4, 1e-3, 3e-3),
        "low rank": (1e-3, 3e-3, 1e-2, 3e-2),
        "prompts": (1e-2, 3e-2, 1e-1, 3e-1, 1.0),
        "layers": (1e-3, 3e-3, 1e-2, 3e-2),
    },
    "products": {
        "towers": (1e-4, 3e-4, 1e-3),
        "low rank": (3e-4, 1e-3, 3e-3, 1e-2),
        "prompts": (3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1),
        "layers": (1e-4, 3e-4, 1e-3, 3e-3, 1e-2),
    },
}
#: Photographs cost three times as much: one part stands for a kind.
STANDING = {"products": ("whole towers", "lora", "context", "combiner")}


def tried(stream: str) -> list[System]:
    """A system for each part and rate."""
    return [
        System(f"{name} {rate:g}", "twin", merge(raw, {"strategy": "naive", "train": {"lr": rate}}))
        for name, raw in PLAIN.items()
        if name in STANDING.get(stream, PLAIN)
        for rate in TRIED[stream][kind_of(raw)]
    ]


def held_out(stream: Stream) -> Stream:
    """The same, measured on its validation queries."""
    return replace(
        stream, name=f"{stream.name}-rates", base=merge(stream.base, {"evaluation": {"split": "val"}})
    )


def write_study(stream: Stream, out: Path, root: Path) -> None:
    """Write the table of the runs in ``out``: part -> rate -> its mean score."""
    rows = entry_of(held_out(stream), tried(stream.name), SEEDS, out)["rows"]
    table: dict[str, dict[str, float]] = {}
    for row in rows:
        name, _, rate = row["system"].rpartition(" ")
        table.setdefault(name, {})[rate] = round(row["score"]["mean"], 2)
    write_json(root / FOLDER / f"{stream.name}.json", {"seeds": list(SEEDS), "scores": table})


def read_studies(root: Path) -> dict[str, dict[str, Any]]:
    """Stream -> its table, of those that are committed."""
    return {path.stem: read_json(path) for path in sorted((root / FOLDER).glob("*.json"))}


def means(study: Mapping[str, Any]) -> dict[Kind, dict[float, float]]:
    """Kind -> rate -> mean over the parts that stand for it."""
    found: dict[Kind, dict[float, float]] = {}
    for kind in KINDS:
        parts = [scores for name, scores in study["scores"].items() if kind_of(PLAIN[name]) == kind]
        if not parts:
            continue
        found[kind] = {float(rate): statistics.fmean(part[rate] for part in parts) for rate in parts[0]}
    return found


def best(rates: Mapping[float, float]) -> float:
    """The rate with the best mean; of equal ones the lowest."""
    return max(sorted(rates), key=rates.__getitem__)


def section(studies: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The lines of the ledger's page about learning rates."""
    seeds = ", ".join(map(str, next(iter(studies.values()))["seeds"]))
    lines = [
        "## Learning rates",
        "",
        "What suits whole towers teaches low ranks and prompts little, and photographs need less than drawn "
        "pictures. Plain training of a few parts of each kind was measured on the validation queries of each "
        f"stream, seeds {seeds}, one order each; the rate of the best mean, in the second column, is that of "
        "all rows of the kind there. `python sweeps/every_system.py --rates` measures it again.",
        "",
    ]
    for stream, study in studies.items():
        found = means(study)
        columns = sorted({rate for rates in found.values() for rate in rates})
        body = [
            [f"**{kind}**: {KINDS[kind]}", f"{RATES[stream][kind]:g}", *_values(rates, columns)]
            for kind, rates in found.items()
        ]
        for name, rates in study["scores"].items():
            body.append([name, "", *_values({float(rate): value for rate, value in rates.items()}, columns)])
        head = ["what is trained", "rate", *(f"{rate:g}" for rate in columns)]
        lines += [f"{stream.capitalize()}:", "", markdown(head, body, 1), ""]
    return lines


def _values(rates: Mapping[float, float], columns: Sequence[float]) -> list[str]:
    return [f"{rates[rate]:.1f}" if rate in rates else "" for rate in columns]
