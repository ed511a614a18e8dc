"""Exact ranks by a scorer other than the dot product, against a slow sort; and what refuses one."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from clplat.errors import UserError
from clplat.evaluation.gallery import Scored
from clplat.evaluation.index import build_index
from clplat.evaluation.lists import best_of
from clplat.evaluation.probes import classification_accuracy, image_text_recall
from clplat.evaluation.ranking import rank_of_targets, top_k
from clplat.parts.scorers._base import Scorer
from clplat.parts.scorers.dot import Dot
from clplat.randomness import generator


class City(Scorer):
    """Minus the distance along the axes: no inner product."""

    def pairs(self, queries: Tensor, items: Tensor) -> Tensor:
        return -(queries - items).abs().sum(1)


class Rough(City):
    """Its blocks are rounded, so that pairs must decide."""

    slack = 0.26

    def block(self, queries: Tensor, items: Tensor) -> Tensor:
        return (super().block(queries, items) * 2).round() / 2


def world() -> tuple[Tensor, Tensor]:
    """Coordinates on a grid: many distances tie exactly."""
    draw = generator(0, "scored")
    return tuple(torch.randint(0, 4, (n, 3), generator=draw) / 4 for n in (9, 40))


def slow(query: Tensor, gallery: Tensor, hidden: set[int]) -> list[int]:
    score = [-float((query.double() - row.double()).abs().sum()) for row in gallery]
    return sorted((g for g in range(len(gallery)) if g not in hidden), key=lambda g: (-score[g], g))


@pytest.mark.parametrize("scorer", [City(), Rough()], ids=["exact", "rough"])
@pytest.mark.parametrize("block", [1 << 23, 7])
def test_ranks_and_lists_are_those_of_a_slow_sort(scorer, block):
    queries, gallery = world()
    scored, targets, exclude = (
        Scored(gallery, scorer),
        [[q, q + 9] for q in range(9)],
        [[q + 20] for q in range(9)],
    )
    ranks, ties = rank_of_targets(queries, scored, targets, exclude, block)
    against, _ = rank_of_targets(queries, scored, targets, exclude, block, tie_rule="against")
    top = top_k(queries, scored, 12, exclude, block)
    kept = best_of(queries, scored, exclude, k=12)
    for q, query in enumerate(queries):
        order = slow(query, gallery, set(exclude[q]))
        assert top[q].tolist() == order[:12] == kept.rows[q].tolist()
        assert int(ranks[q]) == min(order.index(target) for target in targets[q])
        score = scorer.pairs(query.expand(40, -1), gallery)
        best = max(float(score[target]) for target in targets[q])
        rivals = [g for g in order if g not in targets[q]]
        assert int(ties[q]) == sum(float(score[g]) == best for g in rivals)
        assert int(against[q]) == sum(float(score[g]) >= best for g in rivals)
        assert kept.scores[q].tolist() == score[kept.rows[q]].tolist()
    assert ties.any()


def test_candidates_of_their_own_are_gathered_by_the_same_scorer():
    queries, gallery = world()
    among = [[q, q + 3, q + 11, q + 30] for q in range(9)]
    ranks, _ = rank_of_targets(queries, Scored(gallery, City()), list(range(9)), among=among)
    for q, query in enumerate(queries):
        order = [g for g in slow(query, gallery, set()) if g in among[q]]
        assert int(ranks[q]) == order.index(q)


def test_an_inner_product_takes_the_fast_path_with_the_same_bits():
    queries, gallery = torch.randn(2, 30, 16, generator=generator(1, "rows"))
    plain, scored = best_of(queries, gallery), best_of(queries, Scored(gallery, Dot()))
    assert torch.equal(plain.rows, scored.rows) and torch.equal(plain.scores, scored.scores)


def test_probes_ask_the_scorer():
    rows = world()[1][:6].unique(dim=0)
    labels = torch.arange(len(rows))
    assert classification_accuracy(rows, rows, labels, City()) == 100.0
    assert image_text_recall(rows, rows, ks=(1,), scorer=City())["R@1"] == 100.0
    assert classification_accuracy(rows, 3 * rows, labels) < 100.0


def test_not_finite_scores_are_refused():
    queries, gallery = world()
    gallery[3, 1] = torch.nan
    with pytest.raises(ValueError, match=r"non-finite"):
        rank_of_targets(queries, Scored(gallery, City()), list(range(9)))


def test_an_approximate_index_refuses_what_is_no_inner_product():
    with pytest.raises(
        UserError, match="index 'ivf' searches by inner product, scorer City is none; use exact"
    ):
        build_index(Scored(world()[1], City()), "ivf")
    found = build_index(Scored(world()[1], City())).search(world()[0], 3)
    assert found.tolist() == [slow(q, world()[1], set())[:3] for q in world()[0]]
