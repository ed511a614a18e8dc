"""What does each post-processor bring behind a stream?

Every recipe that works on a finished model alone, behind the model as it came and behind one that is plainly
trained on the stream, on the ledger's two streams: what it gains in the newest index and in older ones, what
becomes of hubs, what a reranker could gain at most, and its milliseconds.

    python sweeps/every_postprocessor.py --out runs/every-postprocessor --workers 2
    python sweeps/every_postprocessor.py --out runs/every-postprocessor --publish

Resumable as every_system.py, which says how the products get their model. `--publish` writes
results/post_processing/ and docs/post-processing.md, `--page` that page alone.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Sequence

from clplat.errors import unknown_name
from sweeps.ledger.rows import entry_of
from sweeps.ledger.running import SEEDS, chosen_streams, exit_code, options_of_a_run, run_left
from sweeps.ledger.streams import STREAMS
from sweeps.ledger.systems import System
from sweeps.under_change.processors import processing, processors
from sweeps.under_change.processors_page import publish, write_page


def chosen(names: str) -> list[System]:
    """The systems of these recipes, by comma; all for ``""``.

    Raises:
        UserError: no recipe with a post-processor is called so.
    """
    every = processors()
    wanted = {name.strip() for name in names.split(",") if name.strip()}
    known = {one.name.partition(",")[0] for one in every}
    if unknown := wanted - known:
        raise unknown_name("post-processor of the sweep", min(unknown), sorted(known))
    return [one for one in every if not wanted or one.name.partition(",")[0] in wanted]


def main(words: Sequence[str] | None = None) -> int:
    """Run what is missing, or publish what is there."""
    parser = options_of_a_run(__doc__ or "", "runs/every-postprocessor")
    parser.add_argument("--seeds", type=int, default=len(SEEDS), help="how many")
    parser.add_argument("--publish", action="store_true", help="write results/post_processing/ and the page")
    parser.add_argument("--page", action="store_true", help="write docs/post-processing.md alone")
    options = parser.parse_args(words)
    if options.page:
        write_page()
        return 0
    return exit_code("every_postprocessor", lambda: run(options))


def run(options: Namespace) -> None:
    """Run what is missing, or publish."""
    streams, seeds = chosen_streams(STREAMS, options.streams), SEEDS[: options.seeds]
    systems = chosen(options.systems)
    if options.publish:
        found = [entry_of(one, systems, seeds, options.out, more=processing) for one in streams]
        publish(found, known=[one.name for one in chosen("")])
    else:
        run_left(streams, systems, options.out, seeds, options.workers)


if __name__ == "__main__":
    sys.exit(main())
