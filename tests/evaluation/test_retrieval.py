"""Ranks, R@K and mAP against sorting in plain Python; ties, duplicates, NaN; CIRCO's average precision."""

from __future__ import annotations

import json
import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.nn.functional import normalize

from clplat.data.records import Gallery, Picture, Query
from clplat.evaluation.asked import target_rows
from clplat.evaluation.ranking import rank_of_targets, top_k
from clplat.evaluation.retrieval import (
    average_precision_at_k,
    per_query_metrics,
    retrieval_metrics,
)


def ordered(query, gallery, excluded=()):
    """Gallery rows by descending score, then by row, as Python sorts them."""
    scores = [sum(a * b for a, b in zip(query, row, strict=True)) for row in gallery]
    return sorted((g for g in range(len(gallery)) if g not in excluded), key=lambda g: (-scores[g], g))


def slow_average_precision(ranking, targets, k):
    """CIRCO's evaluation, written as a loop."""
    hits, total = 0, 0.0
    for place, row in enumerate(ranking[:k], start=1):
        if row in targets:
            hits += 1
            total += hits / place
    return total / min(len(targets), k)


@st.composite
def tasks(draw):
    """Whole-number embeddings: scores are exact and tie often."""
    width, size = draw(st.integers(1, 3)), draw(st.integers(2, 12))
    row = st.lists(st.integers(-2, 2), min_size=width, max_size=width)
    gallery = draw(st.lists(row, min_size=size, max_size=size))
    queries = draw(st.lists(row, min_size=1, max_size=4))
    targets, exclude = [], []
    for _ in queries:
        rows = draw(st.permutations(range(size)))
        count = draw(st.integers(1, size - 1))
        targets.append(rows[:count])
        exclude.append(rows[count : count + draw(st.integers(0, 2))])
    return queries, gallery, targets, exclude


@settings(max_examples=150, deadline=None)
@given(tasks(), st.integers(1, 40), st.integers(1, 14))
def test_everything_equals_sorting(task, block, k):
    queries, gallery, targets, exclude = task
    q, g = torch.tensor(queries).float(), torch.tensor(gallery).float()
    ranks, ties = rank_of_targets(q, g, targets, exclude, block=block)
    worst, _ = rank_of_targets(q, g, targets, exclude, block=block, tie_rule="against")
    top = top_k(q, g, k, exclude, block=block)
    precision = average_precision_at_k(top, targets, k)
    for i, query in enumerate(queries):
        ranking = ordered(query, gallery, exclude[i])
        best = min(ranking.index(t) for t in targets[i])
        assert ranks[i] == best
        scores = [sum(a * b for a, b in zip(query, row, strict=True)) for row in gallery]
        own = scores[ranking[best]]
        rivals = [r for r in ranking if r not in targets[i]]
        assert ties[i] == sum(scores[r] == own for r in rivals)
        assert worst[i] == sum(scores[r] >= own for r in rivals)
        assert top[i].tolist() == (ranking + [-1] * k)[:k]
        assert precision[i].item() == pytest.approx(slow_average_precision(ranking, targets[i], k), abs=1e-12)
    ks = (1, k)
    values = per_query_metrics(q, g, targets, exclude, ks=ks, block=block)
    assert torch.equal(values["rank"], ranks) and torch.equal(values["ties"], ties)
    assert torch.equal(values[f"mAP@{k}"], precision)
    means = retrieval_metrics(q, g, targets, exclude, ks=ks)
    assert means[f"R@{k}"] == pytest.approx(100 * (ranks < k).double().mean().item())
    assert means["MRR"] == pytest.approx(sum(100 / (1 + r) for r in ranks.tolist()) / len(queries))


@settings(max_examples=50, deadline=None)
@given(tasks(), st.randoms(use_true_random=False))
def test_counting_ties_against_does_not_depend_on_the_order_of_the_gallery(task, rng: random.Random):
    queries, gallery, targets, exclude = task
    order = list(range(len(gallery)))
    rng.shuffle(order)
    q, g = torch.tensor(queries).float(), torch.tensor(gallery).float()
    moved = [[order.index(t) for t in rows] for rows in targets]
    hidden = [[order.index(t) for t in rows] for rows in exclude]
    before = rank_of_targets(q, g, targets, exclude, tie_rule="against")
    after = rank_of_targets(q, g[order], moved, hidden, tie_rule="against")
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_permuting_a_gallery_without_ties_changes_nothing():
    torch.manual_seed(0)
    q, g = torch.randn(40, 16), torch.randn(100, 16)
    targets, order = torch.randint(100, (40,)), torch.randperm(100)
    ranks, ties = rank_of_targets(q, g, targets)
    assert ties.sum() == 0
    assert torch.equal(ranks, rank_of_targets(q, g[order], order.argsort()[targets])[0])


def test_random_embeddings_equal_a_stable_sort_with_duplicated_rows():
    torch.manual_seed(1)
    g = normalize(torch.randn(300, 32), dim=1)
    g[torch.randperm(300)[:40]] = g[torch.randperm(300)[:40]]
    q, targets, reference = torch.randn(50, 32), torch.randint(300, (50,)), torch.randint(300, (50,))
    reference[reference == targets] = -1
    scores = q @ g.T
    unique, where = torch.unique(g, dim=0, return_inverse=True)
    scores = (q @ unique.T)[:, where]
    for i, r in enumerate(reference.tolist()):
        if r >= 0:
            scores[i, r] = -torch.inf
    order = scores.argsort(dim=1, descending=True, stable=True)
    expected = (order == targets[:, None]).long().argmax(1)
    assert torch.equal(rank_of_targets(q, g, targets, reference)[0], expected)
    known = torch.isfinite(scores.gather(1, order))
    assert torch.equal(top_k(q, g, 300, reference), order.masked_fill(~known, -1))


@pytest.mark.parametrize("count", [1, 2, 3, 7])
@pytest.mark.parametrize("width", [5, 64, 512])
def test_equal_pictures_tie_exactly(count, width):
    """A matrix-vector product sums its last rows in another order; without care the copies would not tie."""
    torch.manual_seed(0)
    g = normalize(torch.randn(1, width), dim=1).repeat(257, 1)
    ranks, ties = rank_of_targets(torch.randn(count, width), g, torch.full((count,), 200))
    assert ranks.tolist() == [200] * count
    assert ties.tolist() == [256] * count


@pytest.mark.parametrize("block", [1, 100, 1000])
def test_blocks_do_not_change_the_answer(block):
    torch.manual_seed(0)
    q, g = torch.randn(23, 8).double(), torch.randn(50, 8).double()
    targets = torch.randint(50, (23, 3))
    whole, parts = per_query_metrics(q, g, targets), per_query_metrics(q, g, targets, block=block)
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("side", ["queries", "gallery"])
def test_non_finite_embeddings_are_refused(bad, side):
    torch.manual_seed(0)
    data = {"queries": torch.randn(5, 4), "gallery": torch.randn(6, 4)}
    data[side][3, 2] = bad
    for call in (lambda: rank_of_targets(**data, targets=[0] * 5), lambda: top_k(**data, k=2)):
        with pytest.raises(ValueError, match="non-finite scores"):
            call()


def test_a_collapsed_model_earns_nothing():
    q, g = torch.ones(6, 4), torch.ones(6, 4)
    metrics = retrieval_metrics(q, g, list(range(6)), ks=(1,))
    assert metrics["R@1"] == pytest.approx(100 / 6)
    assert (rank_of_targets(q, g, [0] * 6, tie_rule="against")[0] >= 1).all()


def test_autocast_does_not_reach_the_scores():
    torch.manual_seed(0)
    q, g, targets = torch.randn(9, 32), torch.randn(60, 32), torch.randint(60, (9,))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = rank_of_targets(q, g, targets)[0]
    assert torch.equal(inside, rank_of_targets(q, g, targets)[0])


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"gallery": torch.empty(0, 2)}, "gallery is empty"),
        ({"gallery": torch.eye(3)}, "one width"),
        ({"targets": [0, 2]}, "targets of query 1 lie outside"),
        ({"targets": [[0], []]}, "query 1 has no target"),
        ({"targets": [0]}, "of 2 queries"),
        ({"targets": torch.zeros(2)}, "integers"),
        ({"exclude": [1, 1], "targets": [[0], [0, 1]]}, r"excluded from its own gallery \(query 1\)"),
        ({"exclude": [-2, 1]}, "exclude of query 0"),
    ],
)
def test_bad_input_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        rank_of_targets(**{"queries": torch.eye(2), "gallery": torch.eye(2), "targets": [0, 0], **arguments})


def test_nothing_to_rank():
    ranks, ties = rank_of_targets(torch.empty(0, 2), torch.eye(2), [])
    assert ranks.shape == ties.shape == (0,)
    assert top_k(torch.empty(0, 2), torch.eye(2), 3).shape == (0, 3)
    with pytest.raises(ValueError, match="no queries"):
        retrieval_metrics(torch.empty(0, 2), torch.eye(2), [])


def test_a_target_named_twice_counts_once():
    once = per_query_metrics(torch.eye(2), torch.eye(2), [[0, 1], [1]], ks=(2,))
    twice = per_query_metrics(torch.eye(2), torch.eye(2), [[0, 1, 0], [1, 1, 1]], ks=(2,))
    assert all(torch.equal(once[name], twice[name]) for name in once)


def picture(key):
    return Picture(key, lambda: Image.new("RGB", (2, 2)))


def test_keys_become_rows():
    gallery = Gallery("g", tuple(picture(key) for key in "abc"))
    queries = [Query("0", picture("a"), "", ("c", "b")), Query("1", picture("x"), "", ("a",))]
    assert target_rows(queries, gallery, exclude_reference=True) == ([[2, 1], [0]], [[0], []])
    assert target_rows(queries, gallery, exclude_reference=False) == ([[2, 1], [0]], None)
    with pytest.raises(ValueError, match="target 'z' of query '7' is not in gallery 'g'"):
        target_rows([Query("7", picture("a"), "", ("z",))], gallery, True)
    with pytest.raises(ValueError, match="twice"):
        target_rows(queries, Gallery("g", (picture("a"), picture("a"))), True)


def test_circo_average_precision(shared_data):
    """The 220 validation queries with all their right answers: a submission, and embeddings."""
    circo = shared_data("circo")
    queries = json.loads((circo / "annotations/val.json").read_text())
    answers = [query["gt_img_ids"] for query in queries]
    assert len(queries) == 220 and max(map(len, answers)) > 10
    submission = json.loads((circo / "submission_examples/submission_val.json").read_text())
    lists = [submission[str(query["id"])] for query in queries]
    rng = random.Random(0)
    for ranking, right in zip(lists, answers, strict=True):
        for place, image in zip(rng.sample(range(50), min(len(right), 5)), right, strict=False):
            ranking[place] = image
    for k in (5, 10, 25, 50):
        found = average_precision_at_k(torch.tensor(lists), answers, k)
        expected = [slow_average_precision(r, a, k) for r, a in zip(lists, answers, strict=True)]
        assert found.tolist() == pytest.approx(expected, abs=1e-12)

    images = sorted(
        {image for query in queries for image in [query["reference_img_id"], *query["gt_img_ids"]]}
    )
    row = {image: i for i, image in enumerate(images)}
    targets = [[row[image] for image in right] for right in answers]
    exclude = [[row[query["reference_img_id"]]] for query in queries]
    generator = torch.Generator().manual_seed(0)
    gallery = normalize(torch.randn(len(images), 32, generator=generator), dim=1)
    centres = torch.stack([gallery[rows].mean(0) for rows in targets])
    scores = (centres.double() @ gallery.double().T).tolist()
    metrics = retrieval_metrics(centres, gallery, targets, exclude, ks=(5, 10, 25, 50))
    for k in (5, 10, 25, 50):
        total = 0.0
        for q, right in enumerate(targets):
            rows = (g for g in range(len(images)) if g not in exclude[q])
            total += slow_average_precision(sorted(rows, key=lambda g: -scores[q][g]), right, k)
        assert metrics[f"mAP@{k}"] == pytest.approx(100 * total / 220, abs=1e-6)
