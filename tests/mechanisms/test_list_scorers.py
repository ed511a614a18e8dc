"""ListMLE by hand, views that are told apart, and CUR against a shortlist at equal calls."""

from __future__ import annotations

import math

import torch
from torch.nn.functional import normalize

from clplat.mechanisms.cur import approximate, item_factors
from clplat.mechanisms.list_scorers import ViewScorer, list_mle
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
