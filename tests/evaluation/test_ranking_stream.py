"""Galleries in blocks, and products of either precision: near-ties, copies, block sizes change no index."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from clplat.evaluation import scores
from clplat.evaluation.ranking import rank_of_targets, top_k
from clplat.evaluation.retrieval import per_query_metrics


@contextmanager
def bfloat16_first(first: bool) -> Iterator[None]:
    """As on a processor that multiplies bfloat16, or on one that does not."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scores, "_bfloat16_pays", lambda *_: first)
        yield


def slow_score(query: np.ndarray, row: np.ndarray) -> np.float32:
    """The documented score: products in float32, added by halves."""
    terms = [a * b for a, b in zip(query, row, strict=True)]
    while len(terms) > 1:
        half = (len(terms) + 1) // 2
        terms = [a + b for a, b in zip(terms, terms[half:], strict=False)] + terms[len(terms) - half : half]
    return terms[0]


def slow_order(query: Tensor, gallery: Tensor, excluded: Sequence[int]) -> list[int]:
    scores = [slow_score(query.numpy(), row) for row in gallery.numpy()]
    rows = [row for row in range(len(gallery)) if row not in excluded]
    return sorted(rows, key=lambda row: (-scores[row], row))


@st.composite
def near_ties(draw):
    """Rows that are copies of a few, or one rounding away from them: a matrix product cannot order these."""
    width, distinct = draw(st.sampled_from([1, 2, 3, 7, 16, 33])), draw(st.integers(1, 4))
    size, count = draw(st.integers(1, 60)), draw(st.integers(1, 4))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    scale = draw(st.sampled_from([1.0, 1e-25, 1e-12, 1e15]))
    few = scale * torch.randn(distinct, width, generator=generator)
    gallery = few[torch.randint(distinct, (size,), generator=generator)]
    jitter = torch.randint(-1, 2, gallery.shape, generator=generator).float()
    touched = torch.rand(size, 1, generator=generator) < draw(st.sampled_from([0.0, 0.5, 1.0]))
    gallery = gallery * (1 + jitter * touched * 2.0**-23)
    return torch.randn(count, width, generator=generator), gallery


@settings(max_examples=120, deadline=None)
@given(near_ties(), st.integers(1, 70), st.integers(1, 300), st.integers(1, 70), st.booleans(), st.booleans())
def test_near_ties_and_copies_are_in_the_documented_order(task, k, block, cut, exclude_first, coarse):
    queries, gallery = task
    size = len(gallery)
    hidden = [0] if exclude_first and size > 1 else []
    targets = [[size - 1]] * len(queries)
    with bfloat16_first(coarse):
        found = top_k(queries, gallery, k, [hidden] * len(queries), block=block)
        ranks, ties = rank_of_targets(queries, gallery, targets, [hidden] * len(queries), block=block)
    for i, query in enumerate(queries):
        order = slow_order(query, gallery, hidden)
        assert found[i].tolist() == (order + [-1] * k)[:k]
        assert ranks[i] == order.index(size - 1)
        own = slow_score(query.numpy(), gallery[-1].numpy())
        equal = [slow_score(query.numpy(), gallery[row].numpy()) == own for row in order]
        assert ties[i] == sum(equal) - 1
    blocks = gallery.split(cut)
    assert torch.equal(found, top_k(queries, blocks, k, [hidden] * len(queries)))
    streamed = rank_of_targets(queries, blocks, targets, [hidden] * len(queries))
    assert torch.equal(ranks, streamed[0]) and torch.equal(ties, streamed[1])


def test_a_gallery_of_few_distinct_pictures_keeps_memory_and_order():
    """Ten thousand copies tie at the cut, in every piece: the first rows win."""
    generator = torch.Generator().manual_seed(0)
    few = torch.randn(3, 24, generator=generator)
    which = torch.randint(3, (40_000,), generator=generator)
    queries = torch.randn(5, 24, generator=generator)
    found = top_k(queries, few[which], 200)
    for query, rows in zip(queries, found, strict=True):
        best = max(range(3), key=lambda row: slow_score(query.numpy(), few[row].numpy()))
        assert torch.equal(rows, (which == best).nonzero().squeeze(1)[:200])


def test_copies_far_apart_tie_on_any_number_of_queries():
    generator = torch.Generator().manual_seed(0)
    gallery, queries = torch.randn(20_000, 48, generator=generator), torch.randn(40, 48, generator=generator)
    gallery[19_999] = gallery[7]
    for count in (1, 2, 40):
        _, ties = rank_of_targets(queries[:count], gallery, [19_999] * count)
        assert ties.tolist() == [1] * count
        both = torch.cat([rank_of_targets(queries[:count], gallery, [row] * count)[0] for row in (7, 19_999)])
        assert torch.equal(both[count:], both[:count] + 1)


def test_lower_precision_of_the_matrix_product_changes_nothing():
    generator = torch.Generator().manual_seed(0)
    gallery, queries = torch.randn(3000, 64, generator=generator), torch.randn(20, 64, generator=generator)
    targets = torch.arange(20)
    right = top_k(queries, gallery, 20), rank_of_targets(queries, gallery, targets)[0]
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        assert torch.equal(top_k(queries, gallery, 20), right[0])
        assert torch.equal(rank_of_targets(queries, gallery, targets)[0], right[1])
    finally:
        torch.set_float32_matmul_precision(before)


def spread(kind: str, count: int, size: int, width: int) -> tuple[Tensor, Tensor]:
    """Queries and a gallery with duplicates; ``kind`` says how far apart the scores lie."""
    draw = torch.Generator().manual_seed(0)
    gallery, queries = torch.randn(size, width, generator=draw), torch.randn(count, width, generator=draw)
    gallery[size // 2 :] = gallery[torch.randint(size // 2, (size - size // 2,), generator=draw)]
    scale = {"wide": 1.0, "narrow": 1e-2, "rounding": 1e-7, "none": 0.0}[kind]
    return queries, 1.0 + scale * gallery if kind != "wide" else gallery


@pytest.mark.parametrize("kind", ["wide", "narrow", "rounding", "none"])
@pytest.mark.parametrize("block", [700, 1 << 23])
def test_bfloat16_decides_as_float32_or_leaves_it_to_float32(kind: str, block: int) -> None:
    """Scores that lie apart, closer than bfloat16 tells, closer than float32 tells, and all equal."""
    queries, gallery = spread(kind, 40, 600, 128)
    targets = torch.arange(120).view(40, 3)
    found = []
    for first in (False, True):
        with bfloat16_first(first):
            metrics = per_query_metrics(queries, gallery, targets, [500] * 40, block=block)
            found.append([*metrics.values(), top_k(queries, gallery, 7, [500] * 40, block=block)])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
    query, row = queries[3].numpy(), gallery.numpy()
    own = [slow_score(query, row[t]) for t in targets[3].tolist()]
    best = min(zip(own, targets[3].tolist(), strict=True), key=lambda pair: (-pair[0], pair[1]))
    others = [(slow_score(query, row[g]), g) for g in range(600) if g != 500]
    assert found[1][0][3] == sum((-score, g) < (-best[0], best[1]) for score, g in others)
    ordered = sorted(others, key=lambda pair: (-pair[0], pair[1]))
    assert found[1][-1][3].tolist() == [g for _, g in ordered[:7]]


def test_bfloat16_is_given_up_where_it_leaves_much_open() -> None:
    products = []

    multiply = torch.mm

    def counted(left: Tensor, right: Tensor, out: Tensor) -> Tensor:
        products.append(out.dtype)
        return multiply(left, right, out=out)

    with bfloat16_first(True), pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "mm", counted)
        for kind in ("wide", "narrow"):
            queries, gallery = spread(kind, 40, 600, 128)
            rank_of_targets(queries, gallery, queries.matmul(gallery.T).argmax(1), block=6000)
            expected = [torch.bfloat16] * 4 if kind == "wide" else [torch.bfloat16] + [torch.float32] * 4
            assert products == expected
            products.clear()


@pytest.mark.parametrize("side", ["queries", "gallery"])
def test_numbers_that_bfloat16_rounds_to_infinity(side: str) -> None:
    """They are finite in float32, and so are their scores."""
    great, small = torch.tensor([[3.4e38, 0.0], [3.39e38, 0.0]]), torch.tensor([[1e-9, 1e-9], [2e-9, 0.0]])
    queries, gallery = (great, small) if side == "queries" else (small, great)
    order = [1, 0] if side == "queries" else [0, 1]
    with bfloat16_first(True):
        assert top_k(queries, gallery, 2).tolist() == [order] * 2
        assert rank_of_targets(queries, gallery, [0, 0])[0].tolist() == [order.index(0)] * 2


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_change_nothing(threads: int) -> None:
    """As many queries as one thread shares with another; both precisions."""
    queries, gallery = spread("wide", 300, 1000, 256)
    before = torch.get_num_threads()
    found = []
    try:
        for first, count in ((False, 1), (True, threads)):
            torch.set_num_threads(count)
            with bfloat16_first(first):
                found.append([*rank_of_targets(queries, gallery, [5] * 300), top_k(queries, gallery, 5)])
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_bad_numbers_are_refused_before_bfloat16(bad: float) -> None:
    queries, gallery = spread("wide", 8, 40, 128)
    gallery[7, 3] = bad
    with bfloat16_first(True), pytest.raises(ValueError, match="non-finite"):
        rank_of_targets(queries, gallery, [0] * 8)


class Stored(Sequence):
    """Blocks of a file, each read when it is asked for."""

    def __init__(self, path: Path, count: int, width: int, block: int) -> None:
        self.path, self.count, self.width, self.block = path, count, width, block

    def __len__(self) -> int:
        return -(-self.count // self.block)

    def __getitem__(self, i: int) -> np.ndarray:
        if i >= len(self):
            raise IndexError(i)
        rows = min(self.block, self.count - i * self.block)
        start = i * self.block * self.width
        return np.fromfile(self.path, np.float32, rows * self.width, offset=4 * start).reshape(
            rows, self.width
        )


def resident_peak() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) // 1024


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux tells and resets the peak")
def test_a_file_is_searched_in_a_fraction_of_its_memory(tmp_path: Path):
    """77 MB of embeddings; their scores for 100 queries would be 120 MB."""
    path, count, width = tmp_path / "gallery.bin", 300_000, 64
    generator = torch.Generator().manual_seed(0)
    few = torch.randn(30_000, width, generator=generator)
    for _ in range(10):  # every picture ten times, so that all ties cross blocks
        with open(path, "ab") as file:
            few.numpy().tofile(file)
    queries, targets = torch.randn(100, width, generator=generator), torch.arange(100) * 3000
    stored = Stored(path, count, width, 20_000)
    top_k(queries, few[:100], 10)  # loads the libraries
    Path("/proc/self/clear_refs").write_text("5")
    before = resident_peak()
    found = top_k(queries, stored, 10, block=1 << 20)
    ranks, ties = rank_of_targets(queries, stored, targets, block=1 << 20)
    assert resident_peak() - before < 60
    mapped = np.memmap(path, np.float32, "r", shape=(count, width))
    assert torch.equal(found, top_k(queries, mapped, 10))
    whole = torch.from_numpy(np.array(mapped))
    assert torch.equal(found, top_k(queries, whole, 10))
    assert torch.equal(found[:, 0] + 30_000, found[:, 1]), "the copies follow the first"
    expected = rank_of_targets(queries, whole, targets)
    assert torch.equal(ranks, expected[0]) and torch.equal(ties, expected[1])
    assert ties.tolist() == [9] * 100


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux tells and resets the peak")
def test_a_gallery_where_everything_ties_needs_no_more_memory():
    queries, gallery = torch.ones(100, 4), torch.ones(60_000, 4)
    top_k(queries, gallery[:100], 10)
    Path("/proc/self/clear_refs").write_text("5")
    before = resident_peak()
    assert torch.equal(top_k(queries, gallery, 10, block=1 << 18), torch.arange(10).expand(100, 10))
    assert resident_peak() - before < 300


def test_arrays_and_half_precision_are_galleries_too():
    generator = torch.Generator().manual_seed(0)
    gallery, queries = torch.randn(50, 8, generator=generator).half(), torch.randn(4, 8, generator=generator)
    right = top_k(queries, gallery.float(), 9)
    for other in (gallery, gallery.numpy(), [gallery[:1], gallery[1:40], gallery[40:]], gallery.double()):
        assert torch.equal(top_k(queries, other, 9), right)
    metrics = per_query_metrics(queries, [gallery.numpy()[:20], gallery.numpy()[20:]], [[0, 30]] * 4)
    expected = per_query_metrics(queries, gallery, [[0, 30]] * 4)
    assert all(torch.equal(metrics[name], expected[name]) for name in expected)


@pytest.mark.parametrize(
    ("gallery", "message"),
    [
        ([], "gallery is empty"),
        ([torch.empty(0, 2)], "gallery is empty"),
        ([torch.eye(2), torch.eye(3)], "one width"),
        ([torch.ones(2)], "matrix"),
        (np.ones((2, 3), np.float32), "one width"),
    ],
)
def test_bad_blocks_are_reported(gallery, message):
    with pytest.raises(ValueError, match=message):
        top_k(torch.eye(2), gallery, 1)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_bad_number_in_the_last_block_is_refused(bad):
    blocks = [torch.eye(3), torch.eye(3), torch.eye(3)]
    blocks[2][1, 1] = bad
    with pytest.raises(ValueError, match="non-finite"):
        top_k(torch.eye(3), blocks, 1)


def test_great_and_tiny_numbers():
    """Squares of these leave float32 though their scores do not."""
    gallery, queries = torch.tensor([[1e30, 0.0], [2e30, 0.0], [0.0, 3e30]]), torch.tensor([[1e-20, 1e-20]])
    assert top_k(queries, gallery, 3).tolist() == [[2, 1, 0]]
    assert top_k(queries / 1e10, gallery / 1e35, 3).tolist() == [[2, 1, 0]]
    with pytest.raises(ValueError, match="non-finite"):
        top_k(queries * 1e30, gallery, 3)
