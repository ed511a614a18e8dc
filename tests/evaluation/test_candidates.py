"""Own candidates, both tie rules and kept lists against sorting in plain Python."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clplat.evaluation import candidates
from clplat.evaluation.lists import best_of, metrics_of_lists
from clplat.evaluation.ranking import rank_of_targets, top_k
from clplat.evaluation.retrieval import per_query_metrics


@st.composite
def tasks(draw: Any) -> Any:
    """Whole-number embeddings, so that scores are exact and tie often, and a set of candidates each."""
    width, size = draw(st.integers(1, 3)), draw(st.integers(2, 12))
    row = st.lists(st.integers(-2, 2), min_size=width, max_size=width)
    gallery = draw(st.lists(row, min_size=size, max_size=size))
    queries = draw(st.lists(row, min_size=1, max_size=4))
    targets, exclude, own = [], [], []
    for _ in queries:
        rows = draw(st.permutations(range(size)))
        count = draw(st.integers(1, size - 1))
        targets.append(list(rows[:count]))
        exclude.append(list(rows[count : count + draw(st.integers(0, 2))]))
        others = draw(st.lists(st.integers(0, size - 1), max_size=size, unique=True))
        own.append(list(dict.fromkeys([rows[draw(st.integers(0, count - 1))], *others])))
    return queries, gallery, targets, exclude, own


def slow(query: Any, gallery: Any, targets: Any, excluded: Any, own: Any, tie_rule: str) -> list[int]:
    """The ranking of one query; against ties, wrong answers come first."""
    score = [sum(a * b for a, b in zip(query, row, strict=True)) for row in gallery]
    rows = [row for row in own if row not in excluded]
    lost = {row: row in targets and tie_rule == "against" for row in rows}
    return sorted(rows, key=lambda row: (-score[row], lost[row], row))


def slow_metrics(ranking: list[int], targets: list[int], k: int) -> dict[str, float]:
    hits = [row in targets for row in ranking]
    wanted = sum(row in targets for row in ranking)
    best = hits.index(True)
    precision = sum(sum(hits[: i + 1]) / (i + 1) for i in range(min(k, len(hits))) if hits[i])
    return {
        "rank": best,
        f"R@{k}": float(best < k),
        f"mAP@{k}": precision / min(wanted, k),
        "MRR": 1 / (best + 1),
    }


@pytest.mark.parametrize("tie_rule", ["index", "against"])
@pytest.mark.parametrize("way", ["gathered", "cut out", "as it comes"])
@settings(max_examples=40, deadline=None)
@given(task=tasks(), block=st.integers(1, 40), k=st.integers(1, 14))
def test_own_candidates_equal_sorting(way: str, tie_rule: Any, task: Any, block: int, k: int) -> None:
    queries, gallery, targets, exclude, own = task
    q, g = torch.tensor(queries).float(), torch.tensor(gallery).float()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(candidates, "EXACT", {"gathered": 0.01, "cut out": 10**6, "as it comes": 3}[way])
        values = per_query_metrics(q, g, targets, exclude, (k,), block=block, among=own, tie_rule=tie_rule)
        ranks, ties = rank_of_targets(q, g, targets, exclude, block, tie_rule, among=own)
        top = top_k(q, g, k, exclude, block, among=own)
    for i, query in enumerate(queries):
        expected = slow_metrics(slow(query, gallery, targets[i], exclude[i], own[i], tie_rule), targets[i], k)
        found = {name: values[name][i].item() for name in expected}
        assert found == pytest.approx(expected, abs=1e-12)
        listed = slow(query, gallery, targets[i], exclude[i], own[i], "index")
        assert top[i].tolist() == (listed + [-1] * k)[:k]
    assert torch.equal(ranks, values["rank"]) and torch.equal(ties, values["ties"])


@settings(max_examples=40, deadline=None)
@given(task=tasks(), k=st.integers(1, 14))
def test_ties_against_equal_sorting_in_the_whole_gallery(task: Any, k: int) -> None:
    queries, gallery, targets, exclude, _ = task
    q, g = torch.tensor(queries).float(), torch.tensor(gallery).float()
    values = per_query_metrics(q, g, targets, exclude, (k,), tie_rule="against")
    for i, query in enumerate(queries):
        ranking = slow(query, gallery, targets[i], exclude[i], range(len(gallery)), "against")
        expected = slow_metrics(ranking, targets[i], k)
        assert {name: values[name][i].item() for name in expected} == pytest.approx(expected, abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(task=tasks(), k=st.integers(1, 14))
def test_metrics_of_unchanged_lists_equal_those_of_embeddings(task: Any, k: int) -> None:
    queries, gallery, targets, exclude, _ = task
    q, g = torch.tensor(queries).float(), torch.tensor(gallery).float()
    lists = best_of(q, g, exclude, k=k)
    ks = [cut for cut in (1, 2, 5) if cut <= lists.rows.shape[1]]
    expected = per_query_metrics(q, g, targets, exclude, ks)
    found = metrics_of_lists(lists.rows, targets, expected["rank"], ks)
    assert found.keys() == expected.keys() - {"ties"}
    assert all(torch.equal(value, expected[name]) for name, value in found.items())
    exact = (q[:, None] * g[lists.rows.clamp(min=0)]).sum(2)
    assert torch.equal(lists.scores, exact.masked_fill(lists.rows < 0, -torch.inf))


@settings(max_examples=40, deadline=None)
@given(task=tasks(), k=st.integers(1, 14))
def test_lists_that_were_made_while_measuring_are_those_of_a_ranking_of_their_own(task: Any, k: int) -> None:
    queries, gallery, targets, exclude, among = task
    q, g = torch.tensor(queries).float(), torch.tensor(gallery).float()
    k = min(k, len(gallery))
    for own in (None, among):
        found = per_query_metrics(q, g, targets, exclude, (1, 2), among=own, listed=k)
        top = found.pop("top")
        expected = per_query_metrics(q, g, targets, exclude, (1, 2), among=own)
        assert found.keys() == expected.keys()
        assert all(torch.equal(value, expected[name]) for name, value in found.items())
        assert torch.equal(top, top_k(q, g, k, exclude, among=own))
        lists, again = best_of(q, g, exclude, k=k, among=own), best_of(q, g, exclude, among=own, top=top)
        assert torch.equal(lists.rows, again.rows) and torch.equal(lists.scores, again.scores)


def test_a_reranked_list_moves_what_is_in_it_and_nothing_else() -> None:
    top = torch.tensor([[4, 2, 0], [1, 3, 5], [2, 3, -1]])
    found = metrics_of_lists(top, [[0, 7], [6], [3]], torch.tensor([2, 9, 1]), ks=(1, 3))
    assert found["rank"].tolist() == [2, 9, 1]
    assert found["R@3"].tolist() == [1.0, 0.0, 1.0]
    assert found["mAP@3"].tolist() == pytest.approx([1 / 6, 0.0, 1 / 2])
    with pytest.raises(ValueError, match="query 1 has no target in its list, but a rank inside it"):
        metrics_of_lists(top, [[0], [6], [3]], torch.tensor([2, 2, 1]))


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ([[0, 1]], "candidates must list gallery rows .* of 2 queries"),
        ([[0, 9], [1]], "the candidates of query 0 lie outside the gallery of 4 rows"),
        ([[0], []], "the candidates of query 1 are none"),
        ([[0], [2, 3]], "query 1 has no target among its own candidates"),
    ],
)
def test_wrong_candidates_are_refused(own: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        per_query_metrics(torch.eye(2, 4), torch.eye(4), [0, 1], among=own)


@pytest.mark.parametrize("rows", [[[0, 1], [1, 2]], [[0, 1, 2, 3]] * 2])
def test_a_collapsed_model_is_refused_in_both_ways(rows: Any) -> None:
    with pytest.raises(ValueError, match="non-finite scores"):
        rank_of_targets(torch.full((2, 4), torch.nan), torch.eye(4), [1, 1], among=rows)
