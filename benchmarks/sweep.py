"""Twenty trials of a combiner on the catalogue: with kept features and with ``--features off``.

Both studies draw the same trials and measure the best one on the test split. The first begins with an empty
store; both draw the pictures once. Each runs once, in a process of its own. What a trial is worth keeping
depends on the towers: those of ViT-S/32 have a quarter of the operations of ViT-B/32's, clplat-tiny's are so
small that a cached trial consists of everything else.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.harness import once, row

TRIALS = 20
SEARCHED = ("composer.dropout", "train.lr")
#: Options of the catalogue by backbone, and the wanted ratio.
SIZES: dict[str, tuple[dict[str, int], float]] = {
    "ViT-S-32": ({"domains": 1, "train": 200, "queries": 20, "gallery": 40}, 10),
    "clplat-tiny": ({"domains": 1, "train": 600}, 0),
}


def ours(which: str) -> Callable[[], object]:
    """A whole study, with an empty store; ``which`` is a backbone and a value of ``--features``."""
    import open_clip

    from clplat.models.backbone import Backbone
    from clplat.sweep import Budget, Sweep
    from clplat.sweep.run import run_sweep

    name, features = which.split()
    folder = Path(os.environ["CLPLAT_CACHE"], which)
    os.environ["CLPLAT_CACHE"] = str(folder / "store")
    backbone = name
    if not name.startswith("clplat"):
        backbone = f"local-dir:{folder / name}"
        Backbone.random(open_clip.get_model_config(name), seed=0).save(folder / name)
    config = {
        "scenario": {"name": "catalogue", **SIZES[name][0]},
        "backbone": {"name": backbone},
        "strategy": {"name": "naive"},
        "adapter": {"name": "none"},
        "composer": {"name": "combiner"},
        "train": {"epochs": 4},
        "features": features,
    }
    sweep = Sweep(
        base=config,
        methods=["naive"],
        controls=[],
        tune=SEARCHED,
        seeds=[0],
        budget=Budget(trials=TRIALS),
    )
    return lambda: run_sweep(sweep, folder / "study")


def rows() -> list[dict[str, Any]]:
    found = []
    for name, (sizes, at_least) in SIZES.items():
        own, peak = once("sweep", f"{name} fp32")
        peer, _ = once("sweep", f"{name} off")
        what = f"sweep of {TRIALS} trials of a combiner on {name}"
        options = ", ".join(f"{option} {value}" for option, value in sizes.items())
        note = f"catalogue ({options}), 4 epochs, drawing the pictures included; peer: with --features off"
        found.append(row(what, own, peer, f">= {at_least}x" if at_least else "reported", note, peak))
    return found
