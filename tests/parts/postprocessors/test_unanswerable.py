"""Certainty against the loss by hand, answers that are taken out, and what a run says."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.nn.functional import normalize

from clplat.evaluation.abstaining import abstaining, without_answers
from clplat.evaluation.lists import Lists
from clplat.mechanisms.abstention import fitted_head
from clplat.parts.postprocessors import Unanswerable
from clplat.parts.postprocessors._base import Banks, Shortlist, Spent
from clplat.randomness import generator

DRAW = generator(0, "unanswerable")
ANSWERS = normalize(torch.randn(12, 6, generator=DRAW), dim=1)
QUERIES = normalize(ANSWERS + 0.2 * torch.randn(12, 6, generator=DRAW), dim=1)
BANKS = Banks(QUERIES, ANSWERS, answers=ANSWERS)


@pytest.mark.parametrize("products", [False, True])
def test_the_head_reads_rankings_with_and_without_the_answer(products: bool) -> None:
    part = Unanswerable(products=products)
    part.fit(BANKS)
    features, there = [], []
    for gone in (False, True):
        for i, query in enumerate(QUERIES.double()):
            scored = sorted(
                ((float(query @ a), j) for j, a in enumerate(ANSWERS.double()) if not (gone and j == i)),
                reverse=True,
            )
            (first, j), (second, _) = scored[:2]
            products_ = [float(x) for x in query * ANSWERS[j].double()] if products else []
            features.append([first, first - second, *products_])
            there.append(not gone)
    head = fitted_head(torch.tensor(features).double(), torch.tensor(there))
    for query, scores in zip(QUERIES, QUERIES @ ANSWERS.T, strict=True):
        best, which = scores.topk(3)
        sure = part.certainty(query[None], best[None], ANSWERS[which[0]][None])
        read = [float(best[0]), float(best[0] - best[1])]
        read += [float(x) for x in query * ANSWERS[which[0]]] if products else []
        expected = sum(w * x for w, x in zip(head[:-1].tolist(), read, strict=True)) + float(head[-1])
        assert math.isclose(float(sure), expected, abs_tol=1e-4)


def shortlist() -> tuple[Shortlist, Lists, torch.Tensor]:
    scores, rows = (QUERIES @ ANSWERS.T).sort(dim=1, descending=True)
    held: Any = lambda items: ANSWERS[torch.tensor(items)]  # noqa: E731
    items: Any = list(range(12))
    queries: Any = []
    embed: Any = None
    found = Shortlist(queries, QUERIES, items, rows[:, :4], scores[:, :4], embed, spent=Spent(), hold=held)
    return found, Lists(rows, scores), torch.tensor([[i, -1] for i in range(12)])


def test_without_its_answers_what_follows_moves_up() -> None:
    found, kept, targets = shortlist()
    gone = without_answers(found, kept, targets)
    for i, rows in enumerate(gone.rows.tolist()):
        assert rows == [row for row in kept.rows[i].tolist() if row != i][:4]
        assert torch.equal(gone.scores[i], (QUERIES @ ANSWERS.T)[i, rows])
    short = without_answers(found, Lists(kept.rows[:, :4], kept.scores[:, :4]), targets)
    assert (short.rows[:, -1] == -1).any() and (short.scores[short.rows < 0] == -torch.inf).all()


def test_a_head_that_was_taught_tells_removed_answers_and_one_that_was_not_says_nothing() -> None:
    found, kept, targets = shortlist()
    part = Unanswerable(shortlist=4)
    assert torch.equal(part.rerank(found), found.scores)
    before = abstaining(part, found, kept, targets)
    assert before is not None and before[0] == 50.0
    part.fit(BANKS)
    after = abstaining(part, found, kept, targets)
    assert (
        after is not None
        and after[0] > 80.0
        and after[1] >= 100.0 * float((found.rows[:, 0] == targets[:, 0]).double().mean())
    )
    rows, scores = found.rows.clone(), found.scores.clone()
    rows[0], scores[0] = -1, -torch.inf
    sure = part.answerable(replace(found, rows=rows, scores=scores))
    assert sure[0] == -torch.inf and torch.isfinite(sure[1:]).all(), "nothing was found, nothing is sure"


@pytest.mark.parametrize("wrong", [{"shortlist": 1}, {"ridge": 0.0}])
def test_what_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="needs shortlist"):
        Unanswerable(**wrong)
