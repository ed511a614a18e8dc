"""Which adapter for which budget?

Every adapter and prompt, and every recipe of one, is trained plainly on the ledger's two streams at sizes
that train 1, 3 and 10 % of the model's weights, and once more with as many passes as cost what LoRA's do:
recall, zero-shot retention, operations, milliseconds per query.

    clplat pretrain --preset coarse --source products --out models/coarse  # needs data/products
    python sweeps/every_adapter.py --out runs/every-adapter --workers 2
    python sweeps/every_adapter.py --out runs/every-adapter --latency
    python sweeps/every_adapter.py --out runs/every-adapter --publish

Run the same command again after a stop, or when parts have landed: what is complete, and of the same
configuration and parts, is not run again. One seed of both streams is sized for less than three hours of two
idle cores, from the seconds of a few runs; `--seeds 2` adds another. `--latency` times a query of each, on an
idle machine, `--publish` writes results/adapters_by_budget/, figures and docs/adapters.md, `--page` that page
alone.
`--systems "maple,adapter vera"` runs these beside LoRA.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from clplat.config.raw import merge
from sweeps.by_budget.cells import Cell, Source, cells_of, named, rows_of, sources
from sweeps.by_budget.latency import latencies
from sweeps.by_budget.operations import at_equal_flops
from sweeps.by_budget.page import publish, publish_latency, write_page
from sweeps.ledger.jobs import Stream
from sweeps.ledger.rows import entry_of
from sweeps.ledger.running import SEEDS, chosen_streams, exit_code, options_of_a_run, run_left
from sweeps.ledger.streams import STREAMS as LEDGER

#: Half of the ledger's triplets in half of its batches: as many steps for half of the operations.
_HALF: dict[str, Any] = {
    "scenario": {"train": 96, "queries": 80, "gallery": 120},
    "train": {"batch_size": 32},
}
_GALLERY = {"products": {"scenario": {"gallery": 240}}}
STREAMS = tuple(
    replace(one, base=merge(merge(one.base, _HALF), _GALLERY.get(one.name, {}))) for one in LEDGER
)


def entry(stream: Stream, chosen: Sequence[Source], seeds: Sequence[int], out: Path) -> dict[str, Any]:
    """The entry of a stream: rows of the ledger that say of what and at which size they are."""
    cells = _all(stream, chosen, seeds, out)
    found = entry_of(stream, [cell.system for cell in cells], seeds, out)
    return found | {"of": len(sources()), "rows": list(rows_of(cells, found["rows"]))}


def _all(stream: Stream, chosen: Sequence[Source], seeds: Sequence[int], out: Path) -> list[Cell]:
    cells = cells_of(chosen, stream, _sizes(out, stream))
    return [*cells, *at_equal_flops(cells, stream, seeds[0], out)]


def _sizes(out: Path, stream: Stream) -> Path:
    return out / f"{stream.name}-sizes.json"


def main(words: Sequence[str] | None = None) -> int:
    """Run what is missing, or time, or publish what is there."""
    parser = options_of_a_run(__doc__ or "", "runs/every-adapter")
    parser.add_argument("--seeds", type=int, default=1, help="how many")
    parser.add_argument("--latency", action="store_true", help="time queries of each adapter and prompt")
    parser.add_argument("--publish", action="store_true", help="write results, figures and the page")
    parser.add_argument("--page", action="store_true", help="write docs/adapters.md alone, without runs")
    options = parser.parse_args(words)
    if options.page:
        write_page()
        return 0
    return exit_code("every_adapter", lambda: run(options))


def run(options: Namespace) -> None:
    """Run what is missing, or time, or publish."""
    streams, seeds = chosen_streams(STREAMS, options.streams), SEEDS[: options.seeds]
    chosen = named(options.systems)
    if options.latency:
        cells = cells_of(chosen, STREAMS[0], _sizes(options.out, STREAMS[0]))
        publish_latency(latencies(cells))
    elif options.publish:
        publish([entry(one, chosen, seeds, options.out) for one in streams])
    else:
        for stream in streams:
            cells = cells_of(chosen, stream, _sizes(options.out, stream))
            run_left([stream], [cell.system for cell in cells], options.out, seeds, options.workers)
            equal = at_equal_flops(cells, stream, seeds[0], options.out)
            run_left([stream], [cell.system for cell in equal], options.out, seeds, options.workers)


if __name__ == "__main__":
    sys.exit(main())
