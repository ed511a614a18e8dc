"""Distill against its formula, computed slowly: loops and float64."""

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
    tiny_collate,
    tiny_domains,
    tiny_learner,
)
from clplat.training.learner import Learner
from strategies import Distill

BATCH = tiny_collate()(tiny_domains()[0].train[:8])
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


def test_a_learner_without_outputs_says_so() -> None:
    model = TinyTowers()
    bare = Learner(model, torch.optim.SGD(model.parameters(), lr=0.1), collate_fn=tiny_collate())
    strategy, bare.pretrained = Distill(), True
    strategy.before_experience(bare, FIRST)
    with pytest.raises(TypeError, match="predict_fn"):
        strategy.loss(bare, BATCH, model(BATCH))


def moved(strategy: Distill) -> tuple[Any, Any, Any]:
    """A learner whose model has left its teacher: with the outputs of before and of now."""
    model = TinyTowers()
    learner = tiny_learner(model)
    strategy.before_experience(learner, FIRST)
    old = model(BATCH)
    nudge(model, 0.3)
    return learner, old, model(BATCH)


def test_mod_x_sums_rows_and_leaves_out_what_the_old_model_got_wrong() -> None:
    """The sum over the rows of KL on cosines, without those whose largest old cosine is no right answer."""
    strategy = Distill(weight=0.1, temperature=1.0, mask_wrong_rows=True, reduction="sum")
    learner, old, new = moved(strategy)
    t, s, total = cosines(old).double(), cosines(new).double(), 0.0
    for teacher, student, right in ((t, s, BATCH.positive), (t.T, s.T, BATCH.positive.T)):
        for i, row in enumerate(teacher):
            if right[i, row.argmax()]:
                total += float((row.softmax(0) * (row.log_softmax(0) - student[i].log_softmax(0))).sum())
    found = float(strategy.loss(learner, BATCH, new)["distill"].detach())
    assert total > 0 and found == pytest.approx(0.1 * total / 2, rel=1e-3)


def test_ctp_keeps_relations_within_queries_and_within_targets() -> None:
    strategy = Distill(weight=1.0, temperature=0.07, within=1.0)
    learner, old, new = moved(strategy)
    extra = 0.0
    for side in ("query", "candidates"):
        t, s = ((made[side] @ made[side].T).detach() for made in (old, new))
        own = ~torch.eye(len(t), dtype=torch.bool)
        t, s = (matrix[own].reshape(len(matrix), -1) for matrix in (t, s))
        extra += slow_kl(t, s, 0.07) / 2
    across = float(Distill(weight=1.0, temperature=0.07).relation(cosines(new), cosines(old)))
    found = float(strategy.loss(learner, BATCH, new)["distill"].detach())
    assert extra > 1e-3 and found == pytest.approx(across + extra, rel=1e-3)


def test_without_a_temperature_each_model_has_its_own_scale() -> None:
    strategy = Distill(weight=1.0, temperature=None)
    learner, old, new = moved(strategy)
    old.scale, new.scale = torch.tensor(10.0), torch.tensor(3.0)
    t, s = 10.0 * cosines(old), 3.0 * cosines(new)
    found = float(strategy.loss(learner, BATCH, new)["distill"].detach())
    assert found == pytest.approx((slow_kl(t, s, 1.0) + slow_kl(t.T, s.T, 1.0)) / 2, rel=1e-3)


def test_a_scaled_temperature_softens_the_logits_of_every_model() -> None:
    """0.02 at CLIP's scale of 100 is 2 of the logits, also of a model whose scale is another."""
    strategy = Distill(weight=1.0, temperature=0.02, scaled=True)
    learner, old, new = moved(strategy)
    old.scale, new.scale = torch.tensor(10.0), torch.tensor(3.0)
    t, s = 10.0 * cosines(old), 3.0 * cosines(new)
    found = float(strategy.loss(learner, BATCH, new)["distill"].detach())
    assert found == pytest.approx((slow_kl(t, s, 2.0) + slow_kl(t.T, s.T, 2.0)) / 2, rel=1e-3)

    classifier, x = torch.nn.Linear(3, 4), torch.eye(3)
    learner = Learner(classifier, torch.optim.SGD(classifier.parameters()), predict_fn=classifier)
    learner.pretrained = True
    by_rows = Distill(weight=1.0, temperature=0.02, scaled=True)
    by_rows.before_experience(learner, FIRST)
    before = classifier(x).detach()
    nudge(classifier, 0.3)
    found = float(by_rows.loss(learner, x, classifier(x))["distill"].detach())
    assert found == pytest.approx(slow_kl(before, classifier(x).detach(), 2.0), rel=1e-3)


def test_hard_candidates_weighted_by_who_finds_the_target() -> None:
    """DCD, by loops: squared differences of the target's score and those of the two hardest candidates."""
    strategy, model = (
        Distill(1.5, temperature=0.1, axis="row", direction="match", hardest=2, by_difficulty=True),
        TinyTowers(),
    )
    learner = tiny_learner(model)
    old = cosines(model(BATCH)).double()
    strategy.before_experience(learner, FIRST)
    nudge(model, 0.4)
    outputs = model(BATCH)
    new, expected, weights = cosines(outputs).double(), 0.0, []
    for i in range(8):
        right = [j for j in range(8) if BATCH.positive[i, j]]
        wrong = sorted({*range(8)} - {*right}, key=lambda j: -float(old[i, j]))[:2]
        chosen = sorted([*right, *wrong])
        errors = [-float((x[i, chosen] / 0.1).log_softmax(0)[chosen.index(i)]) for x in (new, old)]
        weights.append(1 - math.exp(-errors[0] / (errors[1] + 1e-7)))
        expected += weights[i] * float(((new - old)[i, chosen] / 0.1).square().mean()) / 8
    assert max(weights) - min(weights) > 0.05 and expected > 1e-2
    found = strategy.loss(learner, BATCH, outputs)["distill"]
    assert float(found.detach()) == pytest.approx(1.5 * expected, rel=1e-3)
