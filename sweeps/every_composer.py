"""What does a composer keep and lose under continual learning?

Every recipe of a composer, and the picture or the text alone, is streamed over the small catalogue and
over photographs of products with naive, replay, distill and backward_compatible, once with frozen and
once with trained towers: which forget, which still compose on domains they were not trained on, which
keep the old index usable? Attribute combinations that training never showed are reported apart.

    clplat pretrain --preset coarse --source products --out models/coarse  # needs data/products
    python sweeps/every_composer.py --out runs/every-composer --workers 2
    python sweeps/every_composer.py --out runs/every-composer --latency
    python sweeps/every_composer.py --out runs/every-composer --publish

Run the same command again after a stop, or when composers have landed: what is complete, and of the same
configuration and parts, is not run again; seeds follow each other, so that one of all cells is there
first. `--latency` times a query of each, `--publish` writes results/composers/, figures and
docs/composers.md, `--page` that page alone. `--systems tirg,cosmo` runs these beside the blind ones,
`--seeds 1` the first seed alone, `--towers frozen` the cheap half.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sweeps.ledger.jobs import Stream
from sweeps.ledger.rows import entry_of
from sweeps.ledger.running import SEEDS, chosen_streams, exit_code, options_of_a_run, run_left
from sweeps.ledger.streams import STREAMS as LEDGER
from sweeps.under_change.cells import TOWERS, Cell, named, streamed
from sweeps.under_change.latency import latencies
from sweeps.under_change.measured import composition
from sweeps.under_change.page import publish, publish_latency, write_page

STREAMS = tuple(streamed(one) for one in LEDGER)


def entry(stream: Stream, cells: Sequence[Cell], seeds: Sequence[int], out: Path) -> dict[str, Any]:
    """The entry of a stream: rows of the ledger that say which composer, towers and strategy they are of."""
    found = entry_of(stream, [cell.system for cell in cells], seeds, out, more=composition)
    for cell, row in zip(cells, found["rows"], strict=True):
        row |= {"composer": cell.composer, "towers": cell.towers, "strategy": cell.strategy}
    return found


def main(words: Sequence[str] | None = None) -> int:
    """Run what is missing, or time, or publish what is there."""
    parser = options_of_a_run(__doc__ or "", "runs/every-composer")
    parser.add_argument("--seeds", type=int, default=len(SEEDS), help="how many")
    parser.add_argument("--towers", default="", help="frozen or trained; both unless given", choices=TOWERS)
    parser.add_argument("--latency", action="store_true", help="time queries, results/composers/latency.json")
    parser.add_argument(
        "--publish", action="store_true", help="write results/composers/, figures and the page"
    )
    parser.add_argument("--page", action="store_true", help="write docs/composers.md alone, without runs")
    options = parser.parse_args(words)
    if options.page:
        write_page()
        return 0
    return exit_code("every_composer", lambda: run(options))


def run(options: Namespace) -> None:
    """Run what is missing, or time, or publish."""
    streams, seeds = chosen_streams(STREAMS, options.streams), SEEDS[: options.seeds]
    cells = [one for one in named(options.systems) if options.towers in ("", one.towers)]
    if options.latency:
        publish_latency(latencies(cells))
    elif options.publish:
        known = [one.system.name for one in named("")]
        publish([entry(one, cells, seeds, options.out) for one in streams], known=known)
    else:
        run_left(streams, [cell.system for cell in cells], options.out, seeds, options.workers)


if __name__ == "__main__":
    sys.exit(main())
