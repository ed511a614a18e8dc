"""What does every continual system keep and learn, at equal budget?

Every recipe about a stream of domains, on the small catalogue and on photographs of products, with the same
triplets, epochs and batches, three seeds and two stream orders, beside frozen, naive, replay and cumulative.
Each is compared with its naive twin: the same parts, plainly trained, at the rate of what is trained.

    clplat pretrain --preset coarse --source products --out models/coarse  # needs data/products
    python sweeps/every_system.py --out runs/every-system --workers 2
    python sweeps/every_system.py --out runs/every-system --publish

Run the same command again after a stop, or when systems have landed: what is complete, and of the same
configuration and parts, is not run again. A system that fails is a line that says so. Two hours on two idle
cores for both streams. `--publish` writes results/ledger/, figures and docs/ledger.md from it: rows that were
not measured again stay with their day, unless the protocol is another. `--page` writes docs/ledger.md alone,
from results/ledger/ and sweeps/ledger/reasons.yaml. `--rates` measures which learning rates suit what is
trained on a stream (`sweeps/ledger/study.py`, ten minutes of a core each).
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Sequence

from clplat.errors import UserError, unknown_name
from sweeps.ledger import study
from sweeps.ledger.page import ROOT, publish, write_page
from sweeps.ledger.rows import entry_of
from sweeps.ledger.running import SEEDS, chosen_streams, exit_code, options_of_a_run, run_left
from sweeps.ledger.streams import STREAMS
from sweeps.ledger.systems import System, systems


def chosen(names: str) -> list[System]:
    """The systems of these names, with the baselines and what they are compared with; all for ``""``."""
    every = {name: system for system in systems() for name in (system.name, *system.same)}
    wanted = {name.strip() for name in names.split(",") if name.strip()}
    if unknown := wanted - every.keys():
        raise UserError(unknown_name("system of the ledger", min(unknown), every))
    needed = {name for one in wanted for name in (every[one].name, every[one].against)}
    return [one for one in systems() if not wanted or one.kind == "baseline" or one.name in needed]


def main(words: Sequence[str] | None = None) -> int:
    """Run what is missing, or publish what is there."""
    parser = options_of_a_run(__doc__ or "", "runs/every-system")
    parser.add_argument(
        "--publish", action="store_true", help="write results/ledger/, figures and docs/ledger.md"
    )
    parser.add_argument("--page", action="store_true", help="write docs/ledger.md alone, without runs")
    parser.add_argument("--rates", action="store_true", help="measure learning rates, results/ledger/rates/")
    options = parser.parse_args(words)
    if options.page:
        write_page()
        return 0
    return exit_code("every_system", lambda: run(options))


def run(options: Namespace) -> None:
    """Run what is missing, or measure rates, or publish."""
    streams = chosen_streams(STREAMS, options.streams)
    if options.rates:
        for one in streams:
            run_left([study.held_out(one)], study.tried(one.name), options.out, study.SEEDS, options.workers)
            study.write_study(one, options.out, ROOT)
        return
    measured = chosen(options.systems)
    if options.publish:
        known = [one.name for one in systems()]
        publish([entry_of(one, measured, SEEDS, options.out) for one in streams], known=known)
    else:
        run_left(streams, measured, options.out, SEEDS, options.workers)


if __name__ == "__main__":
    sys.exit(main())
