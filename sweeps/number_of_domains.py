"""What happens to the strategies as the stream becomes longer?

Streams of two, four and six domains with the same number of triplets a domain. What a strategy may store
does not grow with the stream: a memory of one size for replay, one older model for patch. Compare the
methods within a length; between lengths the domains differ, so read the distance to frozen and cumulative
there and not the level.

    python sweeps/number_of_domains.py --workers 2
    python sweeps/number_of_domains.py --workers 2 --scenario.train 2000 --train.epochs 5 --seeds 0,1,2,3,4

A laptop size: a few minutes on two cores. More triplets, epochs and seeds make it serious, and longer
streams that are added below.
"""

from __future__ import annotations

import sys

from clplat.cli import script
from clplat.sweep import Sweep
from sweeps import question_of

LENGTHS = (2, 4, 6)

SWEEP = Sweep(
    name="number of domains",
    question=question_of(__doc__),
    base={
        "scenario": {"name": "catalogue", "train": 192, "queries": 120, "gallery": 160},
        "train": {"epochs": 2},
    },
    methods=["replay", "patch", "naive"],
    groups={f"{length} domains": {"scenario": {"domains": length}} for length in LENGTHS},
    figure={"kind": "lines", "y": ["final", "forgetting"], "title": "Strategies by length of the stream"},
)

if __name__ == "__main__":
    sys.exit(script(SWEEP, __file__))
