"""results/composers/, the figures, and docs/composers.md, which is written from these files alone."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from clplat.files import write_text
from sweeps.ledger.page import ROOT
from sweeps.ledger.published import Published, days
from sweeps.under_change.answers import answers
from sweeps.under_change.cells import TOWERS
from sweeps.under_change.figure import draw
from sweeps.under_change.reading import lines_of
from sweeps.under_change.tables import failures, latency_table, table

__all__ = ["page", "publish", "publish_latency", "read_entries", "read_latency", "write_page"]

RESULTS = Published(Path("results") / "composers")
TEXT = """# Composers under continual learning

<!-- Written by `python sweeps/every_composer.py --publish` from results/composers/ and, without runs, anew by
`--page`; do not edit. -->

Which composers forget, which still compose on domains they were not trained on, which keep an old index
usable? Every recipe of a composer is streamed over the ledger's two streams ([ledger.md](ledger.md)) with
`naive`, `replay`, `distill` and `backward_compatible`, once with frozen towers and once with towers that
are trained through it, all with the same triplets, epochs and batches. This page is the ledger of the
composers. Small streams and small models, and after nine steps a domain what starts as the sum is ahead
of what starts from random layers: the page tells how a composer behaves in a stream, not how it ranks at
its paper's size. A composer with more weights than the towers below it (CLIP4Cir's, SEARLE's) has the
small sizes of its recipe.

- **untrained**: the primary metric before the stream, percent, mean over domains; then, after the last
  domain, under each strategy. Composers without weights have nothing to train behind frozen towers and
  stand there as they are.
- **forgets**: a domain's best value since its training minus its last one, points, under each strategy:
  n(aive), r(eplay), d(istill), b(ackward compatible).
- **new**: domains that are not trained yet, mean over the versions between and over the strategies, and
  how many points that is above the same domains before training.
- **old n**, **old b**: what queries of the newest version find in the indexes of all earlier versions, in
  percent of what they find in their own, under `naive` and `backward_compatible`: above 100 where a model
  has become worse than those before it. **old change**: points above what the versions that made the
  indexes found in them, mean over strategies. Where the gallery never changes an old index is the new one.
- **held out**, **shown**: after the last domain, queries whose combination of attributes was held out of
  training (on the catalogue one pair of colour and pattern in five, on products 15 % of the triples of
  type, colour and gender), and all others; means over strategies.
- **text**, **picture**: half of the query, ranked by the same trained model, mean over strategies. Rows
  in bold are composers that see one half alone and are trained on it. **†** after a number: it is below
  the text alone, by the same model or trained in the same way.
- Learning rates: one for all composers, chosen on validation queries
  ([why](decisions/2026-11-30-composers-in-a-stream.md)), and of what else is trained that of the
  [ledger](ledger.md#learning-rates).
"""


def publish(
    entries: Sequence[dict[str, Any]], root: Path = ROOT, known: Collection[str] | None = None
) -> None:
    """Write the entries with earlier rows of the ``known``, their figures, and the page of all there are."""
    for found in entries:
        entry = RESULTS.write(found, root, known)
        for towers in TOWERS:
            if lines_of(entry, towers):
                draw(entry, towers, root / "docs" / "images" / _figure(entry, towers))
    write_page(root)


def publish_latency(found: Mapping[str, Any], root: Path = ROOT) -> None:
    """Write what queries take, and the page anew."""
    RESULTS.write_latency({"composers": found}, root)
    write_page(root)


def write_page(root: Path = ROOT) -> None:
    """Write the page anew from what is committed."""
    write_text(root / "docs" / "composers.md", page(read_entries(root), read_latency(root)))


def read_entries(root: Path = ROOT) -> list[dict[str, Any]]:
    """All entries, by name of the stream."""
    return RESULTS.entries(root)


def read_latency(root: Path = ROOT) -> dict[str, Any]:
    """What was timed; nothing where nothing was."""
    return RESULTS.latency(root)


def page(entries: Sequence[Mapping[str, Any]], latency: Mapping[str, Any]) -> str:
    """The page in Markdown."""
    parts = [TEXT, *("\n".join(_section(entry)) for entry in entries), *_latency(latency)]
    return "\n".join(parts).rstrip() + "\n"


def _section(entry: Mapping[str, Any]) -> list[str]:
    rows = entry["rows"]
    run = sum(row["n"] > 0 for row in rows)
    whole = sum(row["n"] == len(entry["seeds"]) for row in rows)
    if not run:
        return [f"## {entry['stream'].capitalize()}", "", "Nothing of it has run yet.", ""]
    lines = [
        f"## {entry['stream'].capitalize()}",
        "",
        f"{entry['about'][0].upper()}{entry['about'][1:]}. Primary metric {entry['primary']}; seeds "
        f"{', '.join(map(str, entry['seeds']))}; orders "
        f"{'; '.join(' → '.join(one) for one in entry['orders'])}. "
        f"Measured {days(entry)}, torch {entry['versions']['torch']}. Of {len(rows)} cells {run} have run, "
        f"{whole} with all seeds.",
        "",
        *answers(entry),
    ]
    for towers in TOWERS:
        if found := lines_of(entry, towers):
            title = f"{entry['stream'].capitalize()}, towers {towers}"
            lines += [
                f"### {title}",
                "",
                f"![{title}](images/{_figure(entry, towers)})",
                "",
                *table(found),
                "",
            ]
    return [*lines, *failures(rows)]


def _latency(latency: Mapping[str, Any]) -> list[str]:
    if not latency:
        return []
    return [
        "## How long a query takes",
        "",
        "Medians in milliseconds of one process with one thread, `clplat-tiny` (three million weights) as "
        "towers, nothing kept. **composer**: from the features of the towers to the query. **query**: from "
        "pixels and token ids on. **of a sum**: the whole query in units of one by plain sum, timed in turn "
        f"with it, which carries over to other machines better than milliseconds do. Measured "
        f"{latency['date']}, torch {latency['versions']['torch']}, on cores that did other work as well.",
        "",
        *latency_table(latency["composers"]),
        "",
    ]


def _figure(entry: Mapping[str, Any], towers: str) -> str:
    return f"composers-{entry['stream']}-{towers}.png"
