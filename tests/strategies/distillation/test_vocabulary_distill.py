"""Vocabulary distillation against its formula in float64, on both axes and in both directions."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from clplat.mechanisms.random_texts import random_texts
from clplat.parts.adapters.full import Full
from clplat.testing import nudge, tiny_collate, tiny_domains, tiny_learner, tiny_retriever
from strategies import VocabularyDistill

BATCH = tiny_collate()(tiny_domains()[0].train[:6])


def slow(old: Tensor, new: Tensor, axis: str, direction: str) -> float:
    """4 KL at temperature 2; by the pictures of a text on the other axis."""
    old, new = (old, new) if axis == "row" else (old.T, new.T)
    p, q = (old / 2).log_softmax(1), (new / 2).log_softmax(1)
    p, q = (p, q) if direction == "forward" else (q, p)
    return float(4 * (p.exp() * (p - q)).sum(1).mean())


@pytest.mark.parametrize(("axis", "direction"), [("row", "forward"), ("column", "reversed")])
def test_it_is_the_relation_of_candidates_and_random_texts(axis: Any, direction: Any) -> None:
    strategy = VocabularyDistill(1.5, axis=axis, direction=direction, sentences=20, length=5, texts=20)
    learner = tiny_learner(tiny_retriever(Full()).eval())
    model: Any = learner.model
    said = random_texts(model.backbone, 20, 5, seed=0)

    def logits() -> Tensor:
        with torch.no_grad():
            scale = model.backbone.logit_scale.exp().double()
            return scale * model(BATCH).candidates.double() @ model.encode_texts(said).double().T

    before = logits()
    strategy.before_experience(learner, None)
    nudge(model, 0.05)
    found = strategy.loss(learner, BATCH, learner.predict(BATCH))["vocabulary"]
    expected = slow(before, logits(), axis, direction)
    assert expected > 1e-3 and float(found.detach()) == pytest.approx(1.5 * expected, rel=1e-3)


def test_each_step_draws_from_one_list() -> None:
    strategy, learner = (
        VocabularyDistill(sentences=12, length=3, texts=4),
        tiny_learner(tiny_retriever(Full())),
    )
    draws = []
    for _ in range(12):
        draws.append(strategy._drawn(learner).names)
        learner.progress = learner.progress.stepped()
    assert {len(set(names)) for names in draws} == {4} and len({str(names) for names in draws}) > 6
    assert len({name for names in draws for name in names}) <= 12
