"""BackwardCompatible against its formula, computed slowly: loops and float64."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from clplat.testing import (
    TinyTowers,
    nudge,
    tiny_collate,
    tiny_domains,
    tiny_learner,
)
from strategies import BackwardCompatible

BATCH = tiny_collate()(tiny_domains()[0].train[:8])
FIRST, SECOND = (SimpleNamespace(dataset=domain.train) for domain in tiny_domains())


def slow_contrast(queries: Tensor, index: Tensor, right: list[list[bool]], temperature: float) -> float:
    """InfoNCE with several positives: the mean of -log p over a query's positives, then over the queries."""
    total = 0.0
    for query, answers in zip(queries.double(), right, strict=True):
        scores = [float(sum(query * row)) / temperature for row in index.double()]
        log_sum = math.log(sum(math.exp(score) for score in scores))
        own = [log_sum - score for score, answer in zip(scores, answers, strict=True) if answer]
        total += sum(own) / len(own)
    return total / len(queries)


def test_backward_compatible_contrasts_new_with_old() -> None:
    strategy, model = BackwardCompatible(weight=0.5, temperature=0.2), TinyTowers()
    learner = tiny_learner(model)
    with torch.no_grad():
        old = model(BATCH).candidates
    strategy.before_experience(learner, FIRST)
    nudge(model, 0.3)
    outputs = model(BATCH)
    same = [[a == b for b in BATCH.labels] for a in BATCH.labels]
    assert any(sum(row) > 1 for row in same), "the batch shows one thing twice"
    expected = 0.5 * (
        slow_contrast(outputs.query.detach(), old, BATCH.positive.tolist(), 0.2)
        + slow_contrast(outputs.candidates.detach(), old, same, 0.2)
    )
    term = strategy.loss(learner, BATCH, outputs)["compatible"]
    assert float(term.detach()) == pytest.approx(expected, rel=1e-4)
    term.backward()
    assert model.picture.weight.grad is not None, "the new embeddings move, the old ones do not"
