"""What a post-processor adds to ranking in a million pictures: fitted, mapped and ranked, against ranked.

2,000 queries for their 50 best of 1,000,000 pictures (d = 128), and banks of 512 training queries and as many
pictures. Vectors are random, in a cone, as of a model with hubs. Both sides run in turns in one process, one
turn after one that does not count; what is done to the gallery is paid once for an index, and counted here.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from benchmarks.harness import in_turns, peak_megabytes, row
from clplat.evaluation.ranking import top_k
from clplat.parts.postprocessors import InverseConvolution, InvertedSoftmax, Standardised
from clplat.parts.postprocessors._base import Banks, PostProcessor, Scored

QUERIES, PICTURES, WIDTH, BANK = 2_000, 1_000_000, 128, 512


def parts() -> dict[str, PostProcessor]:
    """Those whose work grows with the gallery."""
    return {
        "inverted_softmax": InvertedSoftmax(),
        "inverted_softmax, dynamic": InvertedSoftmax(dynamic=True),
        "inverted_softmax, dynamic with two banks": InvertedSoftmax(gallery_beta=20.0, dynamic=True),
        "standardised": Standardised(whiten="both"),
        "inverse_convolution": InverseConvolution(),
        "inverse_convolution, share 0.01": InverseConvolution(share=0.01),
    }


def cloud(name: int, count: int) -> Tensor:
    draw = torch.Generator().manual_seed(name)
    return normalize(torch.randn(count, WIDTH, generator=draw).add_(0.2), dim=1)


def ranked(part: PostProcessor, banks: Banks, queries: Tensor, gallery: Tensor) -> Callable[[], Any]:
    """Fit, map and rank."""

    def call() -> Tensor:
        part.fit(banks)
        return top_k(*part.map(Scored(queries), Scored(gallery)), 50)

    return call


def ours(which: str) -> Callable[[], Any]:
    """The call that is measured, its inputs ready."""
    banks = Banks(cloud(2, BANK), cloud(3, BANK))
    return ranked(parts()[which], banks, cloud(0, QUERIES), cloud(1, PICTURES))


def rows() -> list[dict[str, Any]]:
    """One plain dict a post-processor."""
    queries, gallery, banks = cloud(0, QUERIES), cloud(1, PICTURES), Banks(cloud(2, BANK), cloud(3, BANK))
    calls = {name: ranked(part, banks, queries, gallery) for name, part in parts().items()}
    bare, *spent = in_turns(lambda: top_k(queries, gallery, 50), *calls.values(), repeats=1)
    note = "peer: the same ranking without it; d = 128, banks of 512; paid once for an index"
    return [
        row(
            f"{name} and the 50 best of 1,000,000 pictures for 2,000 queries",
            seconds,
            bare,
            "<= 2x",
            note,
            peak_megabytes("post_processing", name) if name == "inverted_softmax" else None,
        )
        for name, seconds in zip(calls, spent, strict=True)
    ]


if __name__ == "__main__":
    print(json.dumps(rows(), indent=2))
