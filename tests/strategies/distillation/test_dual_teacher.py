"""The dual teacher against its formula, computed slowly: loops and float64."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
from torch import Tensor

from clplat.parts.teachers._base import teacher_named
from clplat.testing import TinyTowers, nudge, tiny_collate, tiny_domains, tiny_learner
from strategies import DualTeacher

BATCH = tiny_collate()(tiny_domains()[0].train[:6])
FIRST, SECOND = (SimpleNamespace(dataset=domain.train) for domain in tiny_domains())


def softmax(row: list[float]) -> list[float]:
    powers = [math.exp(x - max(row)) for x in row]
    return [x / sum(powers) for x in powers]


def kl(teacher: list[float], student: list[float]) -> float:
    p, q = softmax(teacher), softmax(student)
    return sum(a * (math.log(a) - math.log(b)) for a, b in zip(p, q, strict=True))


def slow(teachers: list[Tensor], student: Tensor, temperature: float, sharpness: float) -> float:
    s = (student.double() / temperature).tolist()
    ts = [(t.double() / temperature).tolist() for t in teachers]
    total, count = 0.0, len(s)
    for i in range(count):
        right = [-math.log(softmax(t[i])[i]) for t in ts]
        shares = softmax([-x / sharpness for x in right])
        for share, t in zip(shares, ts, strict=True):
            columns = [[row[i] for row in m] for m in (t, s)]
            total += share * (kl(t[i], s[i]) + kl(*columns)) / 2 / count
    return total


def cosines(outputs: object) -> Tensor:
    return (outputs.query @ outputs.candidates.T).detach()  # type: ignore[attr-defined]


@pytest.mark.parametrize("sharpness", [0.2, 5.0])
def test_each_example_weighs_its_teachers(sharpness: float) -> None:
    strategy, model = DualTeacher(weight=1.5, temperature=0.1, sharpness=sharpness), TinyTowers()
    learner, old = tiny_learner(model), []
    for experience in (FIRST, SECOND):
        old.append(cosines(model(BATCH)))
        strategy.before_experience(learner, experience)
        nudge(model, 0.4)
    outputs = model(BATCH)
    expected = 1.5 * slow(old, cosines(outputs), 0.1, sharpness)
    pair = outputs.query, outputs.candidates
    for made in (outputs, pair):
        found = float(strategy.loss(learner, BATCH, made)["dual"].detach())
        assert expected > 1e-3 and found == pytest.approx(expected, rel=1e-3)


def test_it_is_zero_until_the_model_moves() -> None:
    strategy, model = DualTeacher(), TinyTowers()
    learner = tiny_learner(model)
    strategy.before_experience(learner, FIRST)
    assert abs(float(strategy.loss(learner, BATCH, model(BATCH))["dual"].detach())) < 1e-6


def test_an_ensemble_counts_evenly_on_its_own_scales() -> None:
    """MobileCLIP: the mean over teachers of KL between affinities, each model with its own logit scale."""
    named = [teacher_named(name) for name in ("initial", "previous", "momentum")]
    strategy, model = DualTeacher(1.5, temperature=None, sharpness=None, teachers=named), TinyTowers()
    learner, old = tiny_learner(model), []
    for experience in (FIRST, SECOND):
        old.append(10.0 * cosines(model(BATCH)))  # the scale of these towers
        strategy.before_experience(learner, experience)
        nudge(model, 0.4)
    outputs = model(BATCH)
    student = 10.0 * cosines(outputs)
    # The momentum model has not followed yet: it is still the one before the stream.
    expected = sum(slow([t], student, 1.0, 1.0) for t in (old[0], old[1], old[0])) / 3
    found = float(strategy.loss(learner, BATCH, outputs)["dual"].detach())
    assert found == pytest.approx(1.5 * expected, rel=1e-3)
    assert {*strategy.state_dict()} == {"teacher_0", "teacher_1", "teacher_2"}


def test_one_teacher_is_too_few() -> None:
    with pytest.raises(ValueError, match="at least two teachers"):
        DualTeacher(teachers=[teacher_named("initial")])
