"""How long a table of a million triplets takes until its first batch, and how much memory.

The table names 200,000 pictures, links to a few drawn ones. A process of its own starts, as a run does:
the stream is built, validated and hashed, texts are compared with the context, the batches of an epoch are
drawn, and the first one is decoded. Seconds are those of the processor, so that a busy machine disturbs them
less; seconds and memory are those beyond importing the libraries and loading the model.

``python -m benchmarks.tables`` prints the rows as JSON.
"""

from __future__ import annotations

import csv
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.harness import resident_peak, row

ROWS, PICTURES, FOLDERS = 1_000_000, 200_000, 200
FORMATS = ("csv", "jsonl", "parquet")
#: Seconds that it may take.
SECONDS = 10.0


def write(folder: Path) -> dict[str, Path]:
    """The table in each format; 1 % of the rows are queries of val, 1 % of test, on pictures of their own."""
    import pyarrow as pa
    from pyarrow import csv as arrow_csv
    from pyarrow import parquet

    from clplat.testing.twins._drawing import put

    drawn = [put(folder / "drawn" / f"{i}.png") for i in range(8)]
    names = [f"pictures/{i % FOLDERS:03d}/{i:06d}.png" for i in range(PICTURES)]
    for i in range(FOLDERS):
        (folder / f"pictures/{i:03d}").mkdir(parents=True)
    for i, name in enumerate(names):
        os.link(drawn[i % len(drawn)], folder / name)
    draw, cut = random.Random(0), PICTURES * 95 // 100
    words = [" ".join(draw.choices(_WORDS, k=draw.randint(3, 14))) for _ in range(300_000)]
    split = ["train"] * (ROWS * 98 // 100) + ["val"] * (ROWS // 100) + ["test"] * (ROWS // 100)
    half = (cut + PICTURES) // 2
    pools = {"train": names[:cut], "val": names[cut:half], "test": names[half:]}
    table = pa.table(
        {
            "reference": [draw.choice(pools[one]) for one in split],
            "text": [draw.choice(words) for _ in split],
            "target": [draw.choice(pools[one]) for one in split],
            "domain": [
                f"season {i * 5 // ROWS}" if one == "train" else f"season {i % 5}"
                for i, one in enumerate(split)
            ],
            "split": split,
        }
    )
    keep = [
        a != b for a, b in zip(*(table.column(c).to_pylist() for c in ("reference", "target")), strict=True)
    ]
    table = table.filter(pa.array(keep))
    found = {form: folder / f"data.{form}" for form in FORMATS}
    arrow_csv.write_csv(table, found["csv"])
    parquet.write_table(table, found["parquet"])
    with found["jsonl"].open("w", encoding="utf-8") as file:
        for one in table.to_pylist():
            file.write(json.dumps(one) + "\n")
    with found["csv"].open(newline="") as file:
        assert next(csv.reader(file)) == table.column_names
    return found


_WORDS = [
    "make",
    "it",
    "a",
    "darker",
    "red",
    "shorter",
    "with",
    "longer",
    "sleeves",
    "and",
    "no",
    "pattern",
    "but",
    "more",
    "buttons",
    "on",
    "the",
    "left",
    "side",
]


def start(table: str) -> dict[str, Any]:
    """What a run does until its first batch is there."""
    import datasets  # noqa: F401
    import pyarrow.parquet  # noqa: F401
    import torch

    import clplat.runs.experiment  # noqa: F401
    from clplat.data.collate import Collate
    from clplat.data.images import PixelStore, Preprocess
    from clplat.data.walk import words
    from clplat.models.backbone import Backbone
    from clplat.parts.samplers.by_domain import ByDomain
    from clplat.runs.refusals import cut_texts
    from clplat.training.examples_in import examples_in
    from scenarios.triplets import Triplets

    backbone = Backbone.load("clplat-tiny")
    retriever: Any = type("Retriever", (), {"backbone": backbone, "composer": type("C", (), {"places": 0})})
    before, at = resident_peak(), time.process_time()
    parts = {}

    def done(what: str) -> None:
        parts[what] = round(time.process_time() - at, 2)

    scenario = Triplets(table)
    benchmark = scenario.benchmark()
    done("benchmark")
    scenario.fingerprint()
    done("fingerprint")
    cut_texts(retriever, words(scenario.build()[0]), "cut")
    done("texts")
    examples = examples_in(benchmark.train_stream[0].dataset)
    batches = ByDomain().batches(
        examples, 128, torch.Generator().manual_seed(0), lambda items: torch.empty(0)
    )
    done("batches")
    collate = Collate(PixelStore(Preprocess(backbone.image_size)), backbone.tokenize)
    collate([examples[i] for i in batches[0]]).loaded()
    done("first batch")
    peak = resident_peak()
    return {"seconds": time.process_time() - at, "megabytes": peak - before, "whole": peak, "parts": parts}


def rows() -> list[dict[str, Any]]:
    """A row per format."""
    found = []
    with tempfile.TemporaryDirectory() as place:
        for form, path in write(Path(place)).items():
            command = [sys.executable, "-m", "benchmarks.tables", str(path)]
            said = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            note = "; ".join(f"{what} {seconds} s" for what, seconds in said["parts"].items())
            found.append(
                row(
                    f"a million triplets from {form} to the first batch",
                    said["seconds"],
                    SECONDS,
                    "<= 1x",
                    f"processor seconds: {note}; {said['megabytes']:.0f} MB beyond libraries and model; "
                    "peer: the seconds that it may take",
                    said["whole"],
                )
            )
    return found


if __name__ == "__main__":
    print(json.dumps(start(sys.argv[1]) if len(sys.argv) > 1 else rows(), indent=1))
