"""Negated texts: the term by hand, of the text tower alone."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from clplat.parts.adapters.full import Full
from clplat.testing import StrategyContract, tiny_collate, tiny_domains, tiny_learner
from clplat.testing.tiny import tiny_retriever
from strategies import NegatedTexts

BATCH = tiny_collate()(tiny_domains()[0].train[:5])


class TestNegatedTexts(StrategyContract):
    def make(self) -> NegatedTexts:
        return NegatedTexts()


def test_an_answer_is_nearer_to_its_text_than_to_the_negation() -> None:
    model = tiny_retriever(Full()).eval()
    learner: Any = tiny_learner(model)
    strategy = NegatedTexts(weight=0.5, template="no {text}")
    strategy.before_experience(learner, None)
    outputs = model(BATCH)
    found = strategy.loss(learner, BATCH, outputs)["negation"]
    backbone, scale, total = model.backbone, float(outputs.scale), 0.0
    for i, row in enumerate(BATCH.text_rows[:5]):
        said = BATCH.texts.said[row]
        rows = backbone.text(backbone.tokenize([said, f"no {said}"])).pooled.double()
        answer = outputs.candidates[i].double()
        s, n = (scale * float(torch.cosine_similarity(answer, one, dim=0).detach()) for one in rows)
        total -= math.log(math.exp(s) / (math.exp(s) + math.exp(n)))
    assert float(found) == pytest.approx(0.5 * total / 5, rel=1e-3)
    found.backward()
    assert any(p.grad is not None and p.grad.any() for p in model.parameters())


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match="have a place"):
        NegatedTexts(template="not")
