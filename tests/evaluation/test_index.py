"""Indexes: they answer as the exact search does, but for the rows that they overlook and own up to."""

from __future__ import annotations

import sys
from itertools import pairwise

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from clplat.errors import UserError
from clplat.evaluation.index import KINDS, Index, build_index
from clplat.evaluation.ranking import top_k

APPROXIMATE = [kind for kind in KINDS if kind != "exact"]


def pictures(count: int, groups: int = 50, seed: int = 0) -> Tensor:
    """Unit rows in groups, as embeddings lie."""
    draw = torch.Generator().manual_seed(seed)
    centres = torch.randn(groups, 16, generator=draw)
    near = centres[torch.randint(groups, (count,), generator=draw)]
    return normalize(near + 0.5 * torch.randn(count, 16, generator=draw), dim=1)


def test_the_exact_index_is_the_exact_search() -> None:
    gallery, queries = pictures(300), pictures(9, seed=1)
    index = build_index(gallery)
    exclude = list(range(9))
    assert torch.equal(index.search(queries, 7, exclude), top_k(queries, gallery, 7, exclude))
    assert index.recall(queries, 7) == 1.0


@pytest.mark.parametrize("kind", APPROXIMATE)
def test_what_is_found_is_in_order_and_recall_counts_what_is_not(kind: str) -> None:
    gallery, queries = pictures(4000), pictures(60, seed=1)
    index, right = build_index(gallery, kind), top_k(queries, gallery, 10)
    found = index.search(queries, 10)
    assert found.shape == (60, 10) and found.dtype == torch.int64
    for query, rows in zip(queries, found.tolist(), strict=True):
        kept = [row for row in rows if row >= 0]
        scores = [float(query @ gallery[row]) for row in kept]
        assert len(set(kept)) == len(kept) and rows[: len(kept)] == kept
        assert all(a >= b - 1e-5 for a, b in pairwise(scores))
    hits = sum(len(set(a) & set(b)) for a, b in zip(found.tolist(), right.tolist(), strict=True))
    assert index.recall(queries, 10) == pytest.approx(hits / 600)
    assert index.recall(queries, 10) > 0.8


def test_recall_tells_what_is_lost() -> None:
    """In a gallery without groups, one cell in eight does not hold all neighbours."""
    draw = torch.Generator().manual_seed(0)
    gallery, queries = torch.randn(4000, 32, generator=draw), torch.randn(60, 32, generator=draw)
    assert 0.2 < build_index(gallery, "ivf").recall(queries, 10) < 0.9
    overlooks = Index(gallery[:10], "none", build_index(gallery[:5], "hnsw")._engine)
    assert overlooks.recall(torch.eye(32), 10) == pytest.approx(0.5)


@pytest.mark.parametrize("kind", KINDS)
def test_excluded_rows_are_left_out_and_others_take_their_place(kind: str) -> None:
    gallery = pictures(400)
    index = build_index(gallery, kind)
    first = index.search(gallery[:20], 8)
    assert torch.equal(first[:, 0], torch.arange(20))
    exclude = [[row, second] for row, second in enumerate(first[:, 1].tolist())]
    found = index.search(gallery[:20], 6, exclude)
    for row, rows in enumerate(found.tolist()):
        assert not set(rows) & set(exclude[row])
    assert torch.equal(found, first[:, 2:])


@pytest.mark.parametrize("kind", KINDS)
def test_a_small_gallery_is_padded(kind: str) -> None:
    gallery = pictures(3)
    found = build_index(gallery, kind).search(gallery, 5, exclude=[0, 1, 2])
    assert found.shape == (3, 5)
    assert (found[:, 2:] == -1).all() and (found[:, :2] >= 0).all()
    assert build_index(gallery, kind).search(gallery[:0], 5).shape == (0, 5)


@pytest.mark.parametrize("kind", APPROXIMATE)
def test_equal_seeds_give_equal_indexes(kind: str) -> None:
    draw = torch.Generator().manual_seed(0)
    gallery, queries = torch.randn(2000, 32, generator=draw), torch.randn(100, 32, generator=draw)
    found = [build_index(gallery, kind, seed).search(queries, 10) for seed in (5, 5, 6)]
    assert torch.equal(found[0], found[1])
    assert kind == "hnsw" or not torch.equal(found[0], found[2])


def test_mistakes_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        UserError, match=r"unknown index 'hnws'; did you mean 'hnsw'\? \(allowed: exact, hnsw, ivf\)"
    ):
        build_index(torch.eye(2), "hnws")
    for kind in KINDS:
        with pytest.raises(ValueError, match="gallery is empty"):
            build_index(torch.empty(0, 2), kind)
        index = build_index(torch.eye(2), kind)
        with pytest.raises(ValueError, match="at least 1"):
            index.search(torch.eye(2), 0)
        with pytest.raises(ValueError, match="one width"):
            index.search(torch.eye(3), 1)
        with pytest.raises(ValueError, match="non-finite"):
            index.search(torch.full((1, 2), torch.nan), 1)
        with pytest.raises(ValueError, match="no queries"):
            index.recall(torch.empty(0, 2), 1)
    with pytest.raises(ValueError, match="non-finite"):
        build_index(torch.full((2, 2), torch.nan), "hnsw")
    monkeypatch.setitem(sys.modules, "faiss", None)
    build_index(torch.eye(2))
    with pytest.raises(UserError, match=r"pip install 'clplat\[index\]'"):
        build_index(torch.eye(2), "ivf")
