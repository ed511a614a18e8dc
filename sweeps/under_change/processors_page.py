"""results/post_processing/<stream>.json and docs/post-processing.md, which is written from these alone."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from clplat.files import write_text
from clplat.tables.text import markdown, mean_text
from sweeps.ledger.page import ROOT
from sweeps.ledger.published import Published, days
from sweeps.under_change.processors import MODELS

__all__ = ["page", "publish", "read_entries", "write_page"]

RESULTS = Published(Path("results") / "post_processing")
_HEAD = (
    "system", "family", "untrained", "gain", "trained", "gain after", "gain in old indexes", "hubness",
    "hubness after", "ceiling", "calls", "ms", "n",
)  # fmt: skip
TEXT = """# Post-processors behind a stream

<!-- Written by `python sweeps/every_postprocessor.py --publish` from results/post_processing/ and, without
runs, anew by `--page`; do not edit. -->

What does each system that works on a finished model alone bring, on the ledger's two streams
([ledger.md](ledger.md)): behind the model as it came, and behind one that is trained plainly on the
stream, domain after domain? This page is the ledger of the post-processors; banks and rerankers that
learn are fitted anew after every domain, on what was seen until then.

- **untrained**, **trained**: the primary metric of the bare ranking after the last domain, percent, mean
  over domains; **gain**, **gain after**: points that the post-processor adds to it.
- **gain in old indexes**: the same for queries of the newest version in the indexes of all earlier ones;
  of what maps embeddings.
- **hubness**: skewness of how often an item is among ten answers, before and after, behind the trained
  model.
- **ceiling**: percent of queries with a right answer on the shortlist, above which no reranker comes;
  **calls** of its scorer and **ms** a query, on cores that did other work as well.
- **n**: runs. With one, of a few hundred queries, a gain or loss of up to about three points is noise.
"""


def publish(
    entries: Sequence[dict[str, Any]], root: Path = ROOT, known: Collection[str] | None = None
) -> None:
    """Write the entries with earlier rows of the ``known``, and the page of all entries that there are."""
    for entry in entries:
        RESULTS.write(entry, root, known)
    write_page(root)


def write_page(root: Path = ROOT) -> None:
    """Write the page anew from what is committed."""
    write_text(root / "docs" / "post-processing.md", page(read_entries(root)))


def read_entries(root: Path = ROOT) -> list[dict[str, Any]]:
    """All entries, by name of the stream."""
    return RESULTS.entries(root)


def page(entries: Sequence[Mapping[str, Any]]) -> str:
    """The page in Markdown."""
    return "\n".join([TEXT, *("\n".join(_section(entry)) for entry in entries)]).rstrip() + "\n"


def _section(entry: Mapping[str, Any]) -> list[str]:
    title = f"## {entry['stream'].capitalize()}"
    systems: dict[str, dict[str, Mapping[str, Any]]] = {}
    for row in entry["rows"]:
        name, _, model = row["system"].rpartition(", ")
        if "score" in row:
            systems.setdefault(name, {})[model] = row
    if not systems:
        return [title, "", "Nothing of it has run yet.", ""]
    order = sorted(systems, key=lambda name: -(_more(systems[name].get(MODELS[1]), "gain") or 0.0))
    waiting = [f"`{row['system']}`" for row in entry["rows"] if row["missing"] and not row["n"]]
    failed = [f"- `{row['system']}`: {row['failed'][0]}" for row in entry["rows"] if row["failed"]]
    return [
        title,
        "",
        f"{entry['about'][0].upper()}{entry['about'][1:]}. Primary metric {entry['primary']}; seeds "
        f"{', '.join(map(str, entry['seeds']))}. Measured {days(entry)}, torch "
        f"{entry['versions']['torch']}.",
        "",
        _answer(systems),
        "",
        markdown(_HEAD, [_cells(name, systems[name]) for name in order], 2),
        "",
        *(["**Failed**:", "", *failed, ""] if failed else []),
        *([f"**Not yet run**: {', '.join(waiting)}.", ""] if waiting else []),
    ]


def _answer(systems: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    said = []
    for model, words in zip(MODELS, ("as it came", "after the stream"), strict=True):
        gains = {name: _more(rows.get(model), "gain") for name, rows in systems.items()}
        known = {name: gain for name, gain in gains.items() if gain is not None}
        if known:
            best = max(known, key=known.__getitem__)
            up = sum(gain > 0 for gain in known.values())
            said.append(
                f"Behind the model {words} {up} of {len(known)} gain, most `{best}` ({known[best]:+.1f})."
            )
    return " ".join(said)


def _cells(name: str, rows: Mapping[str, Mapping[str, Any]]) -> list[str]:
    came, trained = (rows.get(model) for model in MODELS)
    one = trained or came or {}
    return [
        f"`{name}`",
        one["family"].replace("_", " "),
        mean_text(came["score"]["mean"] if came else None, 1),
        _signed(_more(came, "gain")),
        mean_text(trained["score"]["mean"] if trained else None, 1),
        _signed(_more(trained, "gain")),
        _signed(_more(trained, "gain_old")),
        mean_text(_more(trained, "hubness"), 2),
        mean_text(_more(trained, "hubness_after"), 2),
        mean_text(_more(trained, "ceiling"), 0),
        mean_text(_more(trained, "calls"), 0),
        mean_text(_more(trained, "ms"), 2),
        str(min(row["n"] for row in rows.values())),
    ]


def _more(row: Mapping[str, Any] | None, name: str) -> float | None:
    found: float | None = None if row is None else row["more"][name]
    return found


def _signed(value: float | None) -> str:
    return "–" if value is None else f"{value:+.1f}"
