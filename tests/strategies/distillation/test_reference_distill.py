"""ReferenceDistill: the formula of ZSCL in float64, and its traps."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from clplat.parts.adapters.full import Full
from clplat.progress import Progress
from clplat.testing import nudge, tiny_collate, tiny_domains, tiny_learner, tiny_retriever
from clplat.testing.references import TinyReference
from strategies import ReferenceDistill

BATCH = tiny_collate()(tiny_domains()[0].train[:6])


def both_towers() -> Any:
    return tiny_retriever(Full())


def moved(strategy: ReferenceDistill) -> tuple[Any, Tensor, Tensor]:
    """A learner whose model has left its teacher, and the teacher's embeddings of all pictures and texts."""
    learner, reference = tiny_learner(both_towers()), TinyReference()
    shown, said = learner.embed(reference.pictures()), learner.embed(reference.texts())
    strategy.before_experience(learner, None)
    nudge(learner.model, 0.05)
    learner.model.eval()
    return learner, shown, said


def slow(old: Tensor, new: Tensor, t: float) -> float:
    """T^2 (KL by rows + KL by columns), each a mean."""

    def one_way(old: Tensor, new: Tensor) -> float:
        p, q = (old / t).softmax(1), (new / t).softmax(1)
        return float((p * (p.log() - q.log())).sum(1).mean())

    return t * t * (one_way(old, new) + one_way(old.T, new.T))


@pytest.mark.parametrize("student_texts", [False, True])
def test_it_is_the_relation_of_reference_pictures_and_texts(student_texts: bool) -> None:
    strategy = ReferenceDistill(weight=1.5, pictures=100, texts=100, student_texts=student_texts)
    learner, shown, said = moved(strategy)
    found = strategy.loss(learner, BATCH, learner.predict(BATCH))
    reference = TinyReference()
    images = learner.embed(reference.pictures()).double()
    # As in the public code, the student is compared with the teacher's embeddings of the texts.
    texts = learner.embed(reference.texts()).double() if student_texts else said.double()
    scale = float(learner.model.backbone.logit_scale.exp())
    expected = slow(scale * shown.double() @ said.double().T, scale * images @ texts.T, 2.0)
    assert expected > 1e-3 and found.keys() == {"reference"}
    assert float(found["reference"].detach()) == pytest.approx(1.5 * expected, rel=1e-3)


def test_each_step_draws_pictures_and_texts_apart() -> None:
    draws: list[tuple[int, int]] = []

    class Watched(TinyReference):
        def sample(self, progress: Progress, pictures: int, texts: int) -> Any:
            shown, said = super().sample(progress, pictures, texts)
            draws.append((progress.step, len({p.caption for p in shown} & set(said))))
            return shown, said

    strategy = ReferenceDistill(pictures=3, texts=3)
    learner, *_ = moved(strategy)
    learner.reference = Watched()
    values = []
    for _ in range(8):
        values.append(float(strategy.loss(learner, BATCH, learner.predict(BATCH))["reference"].detach()))
        learner.stepped()
    assert [step for step, _ in draws] == [*range(8)] and len(set(values)) == 8
    assert {shared for _, shared in draws} != {3}, "texts that belong to the pictures"


def test_the_initial_teacher_stays_and_the_previous_one_moves_on() -> None:
    for teacher, same in (("initial", False), ("previous", True)):
        strategy = ReferenceDistill(teacher=teacher, pictures=8, texts=6)  # type: ignore[arg-type]
        learner, *_ = moved(strategy)
        strategy.before_experience(learner, None)
        value = float(strategy.loss(learner, BATCH, learner.predict(BATCH))["reference"].detach())
        assert (abs(value) < 1e-4) == same


def test_only_the_student_learns() -> None:
    strategy = ReferenceDistill(pictures=8, texts=6)
    learner, *_ = moved(strategy)
    strategy.loss(learner, BATCH, learner.predict(BATCH))["reference"].backward()
    reached = {n for n, p in learner.model.named_parameters() if p.grad is not None and bool(p.grad.any())}
    assert reached and all(".visual." in name for name in reached), "the texts are the teacher's"


def test_wrong_values_are_refused() -> None:
    for name, value in {"weight": -1.0, "temperature": 0.0, "pictures": 1, "texts": 1}.items():
        with pytest.raises(ValueError, match="weight must be at least 0"):
            ReferenceDistill(**{name: value})  # type: ignore[arg-type]
    with torch.no_grad():
        assert ReferenceDistill().any_module is False
