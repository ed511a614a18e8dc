"""Which strategy keeps old domains while it learns new ones?

Runs every strategy with several seeds on one scenario, at equal epochs, and prints the comparison: final R@1
and R@5 over all domains, forgetting, transfer, zero-shot retention and cost. `frozen` is the floor and
`cumulative` the bound of the table. Finished runs are not repeated: run it again to add strategies or seeds.

    python sweeps/compare_strategies.py --seeds 0,1,2 --workers 2
    python sweeps/compare_strategies.py --scenario domain_folders --scenario.root PATH --out runs/pacs

Edit the list below to compare other strategies or other settings of the same one.
"""

from __future__ import annotations

import sys

from clplat.cli import main

STRATEGIES = [
    "frozen",
    "naive",
    "replay",
    "agem",
    "ewc",
    "distill",
    "patch",
    "backward_compatible",
    "lora_per_domain",
    "cumulative",
]

if __name__ == "__main__":
    own = ["--strategies", ",".join(STRATEGIES), "--out", "runs/compare-strategies"]
    sys.exit(main(["sweep", *own, *sys.argv[1:]]))
