"""Ranking against the public codes, and against the bare matrix product that every method needs.

* CIRR's validation size (4,181 queries, 2,297 pictures, d = 512): R@K, mAP@K and MRR by `retrieval_metrics`,
  against CLIP4Cir's ``validate.py`` (all similarities, a sort of every row, an array of names in that order,
  compared with the names of reference and target) with CIRCO's loop for the average precision.
* CIRCO's test size (800 queries, 123,403 pictures, d = 512): the 50 best by `top_k`, against
  ``queries @ gallery.T``.

* Candidates of each query's own (`among`): six, as in a group of CIRR, and a thousand, against ranking CIRR's
  whole gallery in the same way.

Pictures are random; queries lie between their target, their reference and noise. Both sides run in turns in
one process, on one thread, which a neighbour disturbs least, and on two; medians.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from benchmarks.harness import ROOT, in_turns, peak_megabytes, row
from clplat.evaluation.ranking import top_k
from clplat.evaluation.retrieval import retrieval_metrics

KS = (1, 5, 10, 50)


def cirr() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Queries, gallery, the row of each query's target and that of its reference."""
    return task(4181, 2297)


def circo() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return task(800, 123_403)


def task(queries: int, pictures: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    gallery = normalize(torch.randn(pictures, 512, generator=draw), dim=1)
    target = torch.randint(pictures, (queries,), generator=draw)
    reference = (target + torch.randint(1, pictures, (queries,), generator=draw)) % pictures
    noise = normalize(torch.randn(queries, 512, generator=draw), dim=1)
    return normalize(gallery[target] + gallery[reference] + 6 * noise, dim=1), gallery, target, reference


def public_way(
    queries: Tensor, gallery: Tensor, target: list[str], reference: list[str], names: list[str]
) -> dict[str, float]:
    """CLIP4Cir's ``compute_cirr_val_metrics`` and, for mAP, the loop of CIRCO's ``evaluation.py``."""
    distances = 1 - queries @ gallery.T
    order = torch.argsort(distances, dim=-1).cpu()
    ordered = np.array(names)[order]
    keep = torch.tensor(ordered != np.repeat(np.array(reference), len(names)).reshape(len(target), -1))
    ordered = ordered[keep].reshape(ordered.shape[0], ordered.shape[1] - 1)
    labels = torch.tensor(ordered == np.repeat(np.array(target), len(names) - 1).reshape(len(target), -1))
    assert torch.equal(torch.sum(labels, dim=-1).int(), torch.ones(len(queries)).int())
    out = {f"R@{k}": (torch.sum(labels[:, :k]) / len(labels)).item() * 100 for k in KS}
    precisions: dict[int, list[float]] = {k: [] for k in KS}
    for found, right in zip(ordered[:, : max(KS)], target, strict=True):
        hits = torch.tensor(np.isin(found, [right]), dtype=torch.uint8)
        precision = torch.cumsum(hits, dim=0) * hits / torch.arange(1, hits.shape[0] + 1)
        for k in KS:
            precisions[k].append(float(torch.sum(precision[:k]) / min(1, k)))
    out |= {f"mAP@{k}": float(np.mean(precisions[k])) * 100 for k in KS}
    return out | {"MRR": (1 / (labels.int().argmax(1) + 1)).mean().item() * 100}


def ours(which: str) -> Any:
    """The call that is measured, its inputs ready."""
    queries, gallery, target, reference = {"circo": circo}.get(which, cirr)()
    if which.startswith("own"):
        own = candidates(target, len(gallery), int(which.removeprefix("own")))
        return lambda: retrieval_metrics(queries, gallery, target, ks=(1, 2, 3), among=own)
    if which == "cirr":
        return lambda: retrieval_metrics(queries, gallery, target, reference, ks=KS)
    return lambda: top_k(queries, gallery, 50)


def candidates(target: Tensor, pictures: int, count: int) -> Tensor:
    """(Q, count) rows for each query: its target and others."""
    draw = torch.Generator().manual_seed(1)
    others = torch.stack([torch.randperm(pictures - 1, generator=draw)[: count - 1] for _ in target])
    return torch.cat([target[:, None], others + (others >= target[:, None])], dim=1)


def extra_megabytes(which: str) -> float:
    """Peak memory of our call beyond what its process held before, inputs included (Linux)."""
    code = f"from benchmarks import ranking; print(ranking.growth(ranking.ours({which!r})))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True
    )
    return float(done.stdout)


def growth(call: Callable[[], Any]) -> float:
    """How far this process grows during a call, in megabytes."""
    top_k(torch.eye(4), torch.eye(4), 2)  # loads the libraries
    Path("/proc/self/clear_refs").write_text("5")  # making the inputs took more: forget that peak
    before = _peak()
    call()
    return (_peak() - before) / 1024


def _peak() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1])


def claim(what: str, which: str, peer: Callable[[], Any], target: str, by: str) -> Iterator[dict[str, Any]]:
    """A row for each number of threads."""
    peak, extra, held = peak_megabytes("ranking", which), extra_megabytes(which), torch.get_num_threads()
    for threads in (1, 2):
        torch.set_num_threads(threads)
        own, other = in_turns(ours(which), peer)
        note = f"peer: {by}; {extra:.0f} MB beyond libraries and inputs"
        yield row(f"{what}, {threads} thread{'s' * (threads > 1)}", own, other, target, note, peak)
    torch.set_num_threads(held)


def rows() -> list[dict[str, Any]]:
    """One plain dict a claim and number of threads."""
    queries, gallery, target, reference = cirr()
    names = [f"dev-{i // 4}-{i % 4}-img{i % 2}" for i in range(len(gallery))]
    of_target, of_reference = ([names[i] for i in rows.tolist()] for rows in (target, reference))

    def public() -> dict[str, float]:
        return public_way(queries, gallery, of_target, of_reference, names)

    found = ours("cirr")()
    assert all(abs(found[name] - value) < 0.03 for name, value in public().items()), "the metrics differ"
    what = "R@K, mAP@K and MRR of 4,181 queries in 2,297 pictures"
    by = "CLIP4Cir's sort and comparison of names, CIRCO's loop for mAP"
    first = list(claim(what, "cirr", public, ">= 15x", by))
    many, pictures, _, _ = circo()
    what = "the 50 best of 123,403 pictures for 800 queries"
    by = "the matrix product queries @ gallery.T alone, with its 395 MB of scores"
    second = claim(what, "circo", lambda: many @ pictures.T, "<= 1.5x", by)
    by = "the same metrics in the whole gallery"
    third = [
        claim(
            f"R@K of 4,181 queries among {count:,} candidates of their own",
            f"own{count}",
            ours("cirr"),
            "<= 1.5x",
            by,
        )
        for count in (6, 1000)
    ]
    return [*first, *second, *(found for one in third for found in one)]


if __name__ == "__main__":
    print(json.dumps(rows(), indent=2))
