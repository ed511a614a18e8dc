"""ListMLE by hand, views that are told apart, and CUR against a shortlist at equal calls."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.nn.functional import normalize

from clplat.mechanisms.cur import approximate, item_factors
from clplat.mechanisms.list_scorers import DifferenceScorer, ViewScorer, list_mle, train
from clplat.randomness import generator, seeded


def test_list_mle_is_the_probability_of_an_order() -> None:
    scores = torch.tensor([[0.3, -1.0, 2.0], [0.0, 1.0, 0.5]])
    order = torch.tensor([[2, 0, 1], [0, 1, 2]])
    expected = 0.0
    for row, places in zip(scores.double().tolist(), order.tolist(), strict=True):
        for i, place in enumerate(places):
            left = sum(math.exp(row[other]) for other in places[i:])
            expected -= (row[place] - math.log(left)) / 2
    assert math.isclose(float(list_mle(scores, order)), expected, abs_tol=1e-5)


def test_views_that_are_the_same_are_penalised_most() -> None:
    with seeded(0):
        views = ViewScorer(4, views=3)
    with torch.no_grad():
        views.maps.copy_(torch.eye(4).expand(3, 4, 4))
    assert math.isclose(float(views.penalty().detach()), 1.0, abs_tol=1e-6)
    with torch.no_grad():
        views.maps.copy_(torch.eye(4)[:3].diag_embed())
    assert float(views.penalty().detach()) == 0.0


def test_cur_finds_what_a_shortlist_misses_at_as_many_calls() -> None:
    """The cheap ranking knows half of the dimensions: its shortlist has a ceiling that CUR has not."""
    draw = generator(0, "cur")
    rows = [normalize(torch.randn(n, 8, generator=draw), dim=1).double() for n in (20, 300, 40)]
    anchors, items, queries = rows
    exact, cheap = queries @ items.T, queries[:, :4] @ items[:, :4].T
    few, calls = torch.arange(0, 300, 25), 24  # 12 anchors, and 12 exact
    guessed = approximate(exact[:, few], item_factors(anchors @ items.T, few))
    goal = exact.topk(5, dim=1).indices
    recall = {}
    for name, scores, count in (("cur", guessed, calls - len(few)), ("shortlist", cheap, calls)):
        listed = scores.topk(count, dim=1).indices
        recall[name] = float((goal[..., None] == listed[:, None]).any(2).double().mean())
    assert recall["cur"] == 1.0 > recall["shortlist"] + 0.3


def test_grades_and_differences_by_hand_and_what_trains_them() -> None:
    draw = generator(0, "differences")
    query, items = (normalize(torch.randn(*size, generator=draw), dim=-1) for size in ((2, 4), (2, 3, 4)))
    items[1, 2] = 0.0
    first = torch.randn(2, 3, generator=draw)
    with seeded(0):
        model = DifferenceScorer(4, hidden=5).double()
    one = (query.double(), items.double(), first.double())
    assert torch.equal(model(*one), one[2]), "at first it adds nothing"
    with seeded(1), torch.no_grad():
        for head in (model.grade, model.pair):
            torch.nn.init.normal_(head.weight)
    found, cost = model(*one).detach(), 0.0
    first_layer: Any = model.reads[0]
    layer, bias = first_layer.weight.detach(), first_layer.bias.detach()
    grade, pair = model.grade.weight[0].detach(), model.pair.weight[0].detach()
    for i in range(2):
        q = one[0][i]
        x = [torch.relu(layer @ torch.cat([q * v, v - q]) + bias) for v in one[1][i]]
        members = [k for k in range(3) if bool(one[1][i, k].any())]
        for k in range(3):
            others = sum(math.tanh(float(pair @ (x[k] - x[other]))) for other in members) / len(members)
            assert math.isclose(float(found[i, k]), float(first[i, k] + grade @ x[k]) + others, abs_tol=1e-6)
            cost += (float(grade @ x[k]) - (0.5 - k / 2)) ** 2 / 6
            for other in range(k + 1, 3):
                cost += math.log1p(math.exp(-float(pair @ (x[k] - x[other])))) / 6
    assert math.isclose(float(model.objective(*one).detach()), cost, rel_tol=1e-6)


def test_training_by_differences_ranks_better() -> None:
    draw = generator(0, "ranks")
    query, items = (normalize(torch.randn(*size, generator=draw), dim=-1) for size in ((40, 6), (40, 5, 6)))
    goal = torch.einsum("nd,nkd->nk", query.flip(1), items)
    items = items.gather(1, goal.argsort(1, descending=True)[..., None].expand_as(items))
    lists = (query, items, torch.zeros(40, 5))
    with seeded(0):
        model = DifferenceScorer(6)
    before = float(list_mle(model(*lists), torch.arange(5).expand(40, -1)).detach())
    train(model, lists, listwise=True, steps=60, rate=1e-2, apart=0.0, draw=generator(0, "t"), scale=1.0)
    assert float(list_mle(model(*lists), torch.arange(5).expand(40, -1)).detach()) < before - 0.3
