"""What further views of a head cost: a model version measured with eight prefixes, and with the whole alone.

A version is what `clplat.evaluation.evaluator.Evaluator.row` does after an experience of the demo with LoRA:
the towers embed galleries, queries and probes, and every view is ranked with its baselines and tags. The
pixels are decoded before. Both sides run in turns in one process.
"""

from __future__ import annotations

from typing import Any

import torch

from benchmarks.harness import THREADS, in_turns, row
from clplat.config.resolve import resolve
from clplat.models.frozen import weights_fixed
from clplat.parts.heads.matryoshka import Matryoshka
from clplat.runs.assembly import assemble

DIMS = [48, 32, 24, 16, 12, 8, 4]


def rows() -> list[dict[str, Any]]:
    torch.set_num_threads(THREADS)
    parts = assemble(resolve({"adapter": "lora", "features": "off"}))
    retriever = parts.retriever.eval()
    head = Matryoshka(DIMS)
    head.attach(retriever.towers)

    def measured(views: bool) -> None:
        retriever.head = head if views else None
        with weights_fixed():
            found = parts.evaluator.row(retriever)
        assert len(found.views) == (len(DIMS) if views else 0)

    eight, one = in_turns(lambda: measured(True), lambda: measured(False))
    sizes = [(len(held.queries), len(held.gallery.items)) for held in parts.evaluator.sets]
    queries, pictures = sizes[0]
    note = f"{len(sizes)} domains of {queries} queries and {pictures} pictures; the peer measures one view"
    return [row("a model version with eight prefixes, embedded and ranked", eight, one, "<= 2x", note)]
