"""Strategies on outputs and memories against their formulas, computed slowly: loops and float64."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from clplat.testing import (
    TinyTowers,
    nudge,
    plain_step,
    task_gradients,
    tiny_collate,
    tiny_domains,
    tiny_learner,
    tiny_loss,
)
from clplat.training.strategy import Learner, Strategy
from strategies import BackwardCompatible, Cumulative, Distill, Replay

BATCH = tiny_collate()(tiny_domains()[0].train[:8])
OTHER = tiny_collate()(tiny_domains()[1].train[:8])
FIRST, SECOND = (SimpleNamespace(dataset=domain.train) for domain in tiny_domains())


def slow_kl(teacher: Tensor, student: Tensor, temperature: float) -> float:
    """The mean over the rows of KL(softmax(teacher / T) || softmax(student / T))."""
    total = 0.0
    for t, s in zip(teacher.double().tolist(), student.double().tolist(), strict=True):
        p, q = ([math.exp(x / temperature) for x in row] for row in (t, s))
        p, q = [x / sum(p) for x in p], [x / sum(q) for x in q]
        total += sum(a * (math.log(a) - math.log(b)) for a, b in zip(p, q, strict=True))
    return total / len(teacher)


def cosines(outputs: Any) -> Tensor:
    return (outputs.query @ outputs.candidates.T).detach()


@pytest.mark.parametrize("which", ["previous", "initial"])
def test_distill_is_the_mean_kl_of_rows_and_columns(which: Any) -> None:
    strategy, model = Distill(weight=1.5, teacher=which, temperature=0.1), TinyTowers()
    learner, old = tiny_learner(model), []
    for experience in (FIRST, SECOND):
        old.append(cosines(model(BATCH)))
        strategy.before_experience(learner, experience)
        nudge(model, 0.3)
    outputs = model(BATCH)
    teacher, student = old[-1 if which == "previous" else 0], cosines(outputs)
    rows, columns = slow_kl(teacher, student, 0.1), slow_kl(teacher.T, student.T, 0.1)
    expected = pytest.approx(1.5 * (rows + columns) / 2, rel=1e-3)
    assert rows > 1e-3 and columns > 1e-3
    assert float(strategy.loss(learner, BATCH, outputs)["distill"].detach()) == expected

    def pair(batch: Any) -> tuple[Tensor, Tensor]:
        made = model(batch)
        return made.query, made.candidates

    in_pairs = Learner(model, learner.optimizer, predict_fn=pair)
    assert float(strategy.loss(in_pairs, BATCH, pair(BATCH))["distill"].detach()) == expected


def test_distill_is_zero_until_the_model_moves() -> None:
    strategy, model = Distill(), TinyTowers()
    learner = tiny_learner(model)
    strategy.before_experience(learner, FIRST)
    assert abs(float(strategy.loss(learner, BATCH, model(BATCH))["distill"].detach())) < 1e-6
    nudge(model, 0.3)
    assert float(strategy.loss(learner, BATCH, model(BATCH))["distill"].detach()) > 1e-3


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


def test_replay_adds_the_weighted_task_loss_of_the_memory() -> None:
    strategy, model = Replay(size=6, batch_size=6, weight=0.25), TinyTowers()
    learner = tiny_learner(model)
    assert strategy.loss(learner, BATCH, model(BATCH)) == {}
    strategy.after_experience(learner, FIRST)
    rows = strategy.memory.state_dict()["groups"]["0"]
    stored = [triplet for triplet in FIRST.dataset if triplet.id in {row["id"] for row in rows}]
    assert len(stored) == 6
    together = tiny_collate()(stored)
    expected = 0.25 * tiny_loss(together, model(together)).detach()
    term = strategy.loss(learner, OTHER, model(OTHER))["replay"]
    assert torch.allclose(term.detach(), expected, atol=1e-6)

    alone, replayed = task_gradients(model, OTHER), task_gradients(model, together)
    plain_step(strategy, learner, OTHER)
    for name, p in model.named_parameters():
        if p.requires_grad:
            assert torch.allclose(p.grad, alone[name] + 0.25 * replayed[name], atol=1e-6), name


def test_cumulative_trains_on_all_domains_so_far() -> None:
    stream: list[Any] = []
    for i in range(3):
        stream.append(
            SimpleNamespace(dataset=[10 * i, 10 * i + 1], current_experience=i, origin_stream=stream)
        )
    data = Cumulative().training_set(stream[1])
    assert [data[i] for i in range(len(data))] == [0, 1, 10, 11]
    assert Strategy().training_set(stream[1]) == [10, 11]


def test_a_learner_without_what_a_strategy_needs_says_so() -> None:
    model = TinyTowers()
    bare = Learner(model, torch.optim.SGD(model.parameters(), lr=0.1), collate_fn=tiny_collate())
    strategy = Distill()
    strategy.before_experience(bare, FIRST)
    with pytest.raises(TypeError, match="predict_fn"):
        strategy.loss(bare, BATCH, model(BATCH))
    replay = Replay(size=4)
    replay.after_experience(bare, FIRST)
    with pytest.raises(TypeError, match="predict_fn"):
        replay.loss(bare, BATCH, model(BATCH))
