"""Which learning rate suits each kind of what is trained: plain training on the catalogue's held-out queries.

    python sweeps/every_system.py --rates --out runs/every-system

Its table is results/ledger/rates/catalogue.json, from which `sweeps.ledger.rates.RATES` is written by hand; a
test holds them together.
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

__all__ = ["FILE", "SEEDS", "best", "held_out", "means", "read_study", "section", "tried", "write_study"]

FILE = Path("results") / "ledger" / "rates" / "catalogue.json"
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
TRIED: dict[Kind, tuple[float, ...]] = {
    "towers": (3e-4, 1e-3, 3e-3),
    "low rank": (1e-3, 3e-3, 1e-2, 3e-2),
    "prompts": (1e-2, 3e-2, 1e-1, 3e-1, 1.0),
    "layers": (1e-3, 3e-3, 1e-2, 3e-2),
}


def tried() -> list[System]:
    """A system for each part and rate."""
    return [
        System(f"{name} {rate:g}", "twin", merge(raw, {"strategy": "naive", "train": {"lr": rate}}))
        for name, raw in PLAIN.items()
        for rate in TRIED[kind_of(raw)]
    ]


def held_out(stream: Stream) -> Stream:
    """The same, measured on its validation queries."""
    return replace(stream, name="rates", base=merge(stream.base, {"evaluation": {"split": "val"}}))


def write_study(stream: Stream, out: Path, root: Path) -> None:
    """Write the table of the runs in ``out``: part -> rate -> its score in each seed."""
    rows = entry_of(held_out(stream), tried(), SEEDS, out)["rows"]
    scores = {row["system"]: row.get("score", {}) for row in rows}
    table = {
        name: {f"{rate:g}": round(scores[f"{name} {rate:g}"]["mean"], 2) for rate in TRIED[kind_of(raw)]}
        for name, raw in PLAIN.items()
    }
    write_json(root / FILE, {"stream": stream.name, "seeds": list(SEEDS), "scores": table})


def read_study(root: Path) -> dict[str, Any]:
    """The table that is committed."""
    found: dict[str, Any] = read_json(root / FILE)
    return found


def means(study: Mapping[str, Any]) -> dict[Kind, dict[float, float]]:
    """Kind -> rate -> mean over the parts that stand for it."""
    found: dict[Kind, dict[float, float]] = {}
    for kind in RATES:
        parts = [study["scores"][name] for name, raw in PLAIN.items() if kind_of(raw) == kind]
        found[kind] = {float(rate): statistics.fmean(part[rate] for part in parts) for rate in parts[0]}
    return found


def best(rates: Mapping[float, float]) -> float:
    """The rate with the best mean; of equal ones the lowest."""
    return max(sorted(rates), key=rates.__getitem__)


def section(study: Mapping[str, Any]) -> list[str]:
    """The lines of the ledger's page about learning rates."""
    found = means(study)
    columns = sorted({rate for rates in found.values() for rate in rates})
    body = [
        [f"**{kind}**: {KINDS[kind]}", f"{RATES[kind]:g}", *_values(rates, columns)]
        for kind, rates in found.items()
    ]
    for name, rates in study["scores"].items():
        body.append([name, "", *_values({float(rate): value for rate, value in rates.items()}, columns)])
    return [
        "## Learning rates",
        "",
        "What suits whole towers teaches low ranks and prompts little. Plain training of a few parts of each "
        f"kind was measured on the validation queries of the {study['stream']}, seeds "
        f"{', '.join(map(str, study['seeds']))}, one order each; the rate of the best mean, in the second "
        "column, is that of all rows of the kind on both streams. `python sweeps/every_system.py --rates` "
        "measures it again.",
        "",
        markdown(["what is trained", "rate", *(f"{rate:g}" for rate in columns)], body, 1),
        "",
    ]


def _values(rates: Mapping[float, float], columns: Sequence[float]) -> list[str]:
    return [f"{rates[rate]:.1f}" if rate in rates else "" for rate in columns]
