"""Twenty trials of a combiner on the catalogue, by `tune`: with kept features and with ``--features off``.

Both studies draw the same trials. The first begins with an empty store; both draw their pictures themselves.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.harness import child, row

TRIALS = 20
SEARCHED = ("composer.dropout", "train.lr")
CONFIG = {
    "scenario": {"name": "catalogue", "domains": 2},
    "strategy": "naive",
    "adapter": "none",
    "composer": {"name": "combiner"},
    "train": {"epochs": 4},
}


def ours(which: str) -> Callable[[], object]:
    """A whole study; ``which`` is a value of ``--features``."""
    from clplat.tuning.study import tune

    def study() -> None:
        with tempfile.TemporaryDirectory() as out:
            tune({**CONFIG, "features": which}, SEARCHED, TRIALS, Path(out), track=False)

    return study


def rows() -> list[dict[str, Any]]:
    """In processes of their own: pictures stay in the memory of the process that drew them."""
    spent = {}
    for which in ("fp32", "off"):
        start = time.perf_counter()
        child("peak", "sweep", which)
        spent[which] = time.perf_counter() - start
    return [row(f"sweep of {TRIALS} trials of a combiner", spent["fp32"], spent["off"], 10, None, "")]
