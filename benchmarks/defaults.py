"""Where does the default of an option stand? Value -> final recall and forgetting on a small catalogue.

    python -m benchmarks.defaults FOLDER [STRATEGY ...]    # runs or goes on; then the table

Three domains on which `naive` clearly forgets and `replay` clearly helps, one option at a time, the others at
their defaults, measured on the validation split; the table stands in docs/defaults.md. What trains behind the
towers is studied with frozen ones, whose features are kept: two or three CPU seconds a run. What asks for
trained towers has a bed of its own, of ten.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from clplat.config.raw import merge
from clplat.config.resolve import resolve
from clplat.files import read_json
from clplat.runs.experiment import run

_STREAM = {"name": "catalogue", "domains": 3, "train": 256, "queries": 150, "gallery": 200}
_SHARED = {"scenario": _STREAM, "evaluation": {"split": "val"}}
#: A composer on frozen towers at a high rate; all weights of the towers.
BEDS: dict[str, dict[str, Any]] = {
    "kept features": {
        "adapter": "none",
        "composer": "combiner",
        "train": {"lr": 5e-3, "epochs": 8},
    },
    "towers": {"adapter": "full", "train": {"epochs": 2}},
    # What a strategy brings itself, and an adapter that it draws somewhere.
    "low ranks": {"adapter": "none", "train": {"lr": 1e-2, "epochs": 3}},
    "lora": {
        "adapter": {"name": "lora", "r": 8, "lora_alpha": 32, "targets": ["q_proj", "v_proj"]},
        "train": {"lr": 1e-2, "epochs": 3},
    },
}
SEEDS = {"kept features": (0, 1), "towers": (0,), "low ranks": (0,), "lora": (0,)}


@dataclass(frozen=True)
class Study:
    """One option of a strategy.

    Args:
        strategy: by name.
        option: whose values are compared.
        values: the default among them.
        bed: of `BEDS`.
        fixed: other options that are not at their defaults.
    """

    strategy: str
    option: str
    values: Sequence[Any]
    bed: str = "kept features"
    fixed: tuple[tuple[str, Any], ...] = ()


_TOWERS = "towers"
STUDIES = (
    Study("rwalk", "lam", (0.003, 0.01, 0.03, 0.1, 0.3)),
    Study("gem", "margin", (0.0, 0.5, 1.0, 2.0)),
    Study("gpm", "threshold", (0.8, 0.9, 0.95, 0.97, 0.99)),
    Study("ogd", "examples", (32, 128)),
    Study("er_ace", "weight", (0.25, 0.5, 1.0, 2.0, 4.0)),
    Study("der", "alpha", (0.1, 0.3, 1.0, 3.0, 10.0)),
    Study("cls_er", "stable_decay", (0.7, 0.8, 0.85, 0.9, 0.95)),
    Study("cls_er", "weight", (0.03, 0.1, 0.3, 1.0)),
    Study("cope", "weight", (0.1, 0.3, 1.0, 3.0, 10.0)),
    Study("feature_replay", "weight", (0.3, 1.0, 3.0, 10.0)),
    Study("feature_replay", "rate", (0.003, 0.01, 0.03, 0.1), fixed=(("when", "after"),)),
    Study("queue_distill", "weight", (0.3, 1.0, 3.0, 10.0, 30.0)),
    Study("momentum_contrast", "weight", (0.1, 0.3, 1.0, 3.0)),
    Study("momentum_contrast", "size", (64, 256, 1024)),
    Study("feature_distill", "weight", (1.0, 10.0, 30.0, 100.0, 300.0)),
    Study("knowledge_consolidation", "weight", (0.1, 0.3, 1.0, 3.0)),
    Study("vocabulary_distill", "weight", (0.1, 1.0, 10.0), _TOWERS),
    Study("text_geometry", "weight", (0.1, 1.0, 10.0), _TOWERS),
    Study("reorganize", "weight", (0.25, 1.0, 4.0), _TOWERS),
    Study("tree_lora", "weight", (0.1, 0.5, 1.5), "lora"),
    Study("orthogonal_lora", "weight", (0.02, 0.1, 0.5, 2.5), "low ranks"),
    Study("inflora", "threshold", (0.8, 0.95, 0.99), "low ranks"),
    Study("cl_lora", "distill", (1.0, 5.0, 20.0), "low ranks"),
)
#: Of each bed; of low ranks none, since a control brings nothing to train.
CONTROLS = {
    "kept features": ("frozen", "naive", "replay", "cumulative"),
    "towers": ("frozen", "naive", "replay", "cumulative"),
    "low ranks": ("frozen",),
    "lora": ("naive", "replay"),
}


def measured(bed: str, strategy: dict[str, Any], folder: Path) -> tuple[float, float]:
    """Mean R@10 after the last domain, and forgetting, over the seeds; what has been run is read."""
    found = []
    for seed in SEEDS[bed]:
        words = [bed, *(f"{key} {value}" for key, value in strategy.items()), str(seed)]
        place = folder / "-".join(words).replace(" ", "-")
        config = resolve(merge(merge(_SHARED, BEDS[bed]), {"strategy": strategy, "seed": seed}))
        path = place / "result.json"
        done = path.exists() and read_json(path)["status"] == "complete"
        result = read_json(path) if done else run(config, place)
        found.append((fmean(result["metrics"]["R@10"][-1]), result["scores"][-1]["forgetting_max"]))
    recall, forgetting = zip(*found, strict=True)
    return fmean(recall), fmean(forgetting)


def lines(folder: Path, wanted: Sequence[str]) -> Iterator[str]:
    """The table, row by row as it is measured."""
    yield "| strategy | option | value: final R@10 (forgetting) |\n|---|---|---|"
    for bed in BEDS:
        for name in CONTROLS[bed] if not wanted else ():
            final, lost = measured(bed, {"name": name}, folder)
            yield f"| `{name}` | *{bed}* | {final:.1f} ({lost:.1f}) |"
        for study in STUDIES:
            if study.bed != bed or (wanted and study.strategy not in wanted):
                continue
            cells = []
            for value in study.values:
                options = {"name": study.strategy, **dict(study.fixed), study.option: value}
                final, lost = measured(bed, options, folder)
                cells.append(f"{value:g}: {final:.1f} ({lost:.1f})")
            yield f"| `{study.strategy}` | `{study.option}` | {', '.join(cells)} |"


if __name__ == "__main__":
    torch.set_num_threads(1)
    for line in lines(Path(sys.argv[1]), sys.argv[2:]):
        print(line, flush=True)
