"""Prototype distill by hand: alignment, relations to prototypes, teachers weighed by example, banks."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from clplat.mechanisms.prototypes import Bank
from clplat.testing import TinyTowers, nudge, plain_step, tiny_collate, tiny_domains, tiny_learner
from strategies import PrototypeDistill

FIRST, SECOND = (tiny_collate()(domain.train[:6]) for domain in tiny_domains())


def sides(model: TinyTowers, batch: object) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        made = model(batch)
    return made.query.double(), made.candidates[: len(made.query)].double()


def bank(names: list[str], rows: tuple[Tensor, Tensor]) -> dict[str, list[Tensor]]:
    """The prototypes of a first batch: unit means."""
    return {
        name: [normalize(side[[i for i, n in enumerate(names) if n == name]].mean(0), dim=0) for side in rows]
        for name in dict.fromkeys(names)
    }


def logits(rows: tuple[Tensor, Tensor], held: dict[str, list[Tensor]]) -> list[Tensor]:
    query, target = (torch.stack([pair[side] for pair in held.values()]) for side in (0, 1))
    (q, t) = rows
    return [q @ query.T / 0.1, q @ target.T / 0.1, t @ target.T / 0.1, t @ query.T / 0.1]


def test_both_terms_by_hand() -> None:
    strategy, learner = PrototypeDistill(2.0, 0.5, 0.1, 0.7), tiny_learner(TinyTowers())
    names = list(FIRST.labels[:6])
    strategy.before_experience(learner, None)
    first = sides(learner.model, FIRST)  # type: ignore[arg-type]
    nudge(learner.model, 0.3)
    strategy.before_experience(learner, None)  # the previous model is another than the initial one
    previous = sides(learner.model, FIRST)  # type: ignore[arg-type]
    nudge(learner.model, 0.2)
    student = sides(learner.model, FIRST)  # type: ignore[arg-type]
    models = [student, first, previous]
    own, *others = (logits(rows, bank(names, rows)) for rows in models)
    places = [[*dict.fromkeys(names)].index(name) for name in names]
    align = -sum(own[k].log_softmax(1)[i, place] for k in (1, 3) for i, place in enumerate(places)) / 6 / 2
    right = torch.stack([(q @ t.T / 0.1).log_softmax(1).diagonal() for q, t in models[1:]])
    shares, total = (right / 0.7).softmax(0), 0.0
    for k, teacher in enumerate(others):
        for i in range(6):
            for mine, theirs in zip(own, teacher, strict=True):
                p, log_q = theirs[i].softmax(0), mine[i].log_softmax(0)
                total += float(shares[k, i] * (p * (p.log() - log_q)).sum()) / 4 / 6
    found = strategy.loss(learner, FIRST, learner.predict(FIRST))
    assert float(found["align"].detach()) == pytest.approx(0.5 * float(align), rel=1e-4)
    assert total > 1e-4 and float(found["relations"].detach()) == pytest.approx(2.0 * total, rel=1e-3)


def test_each_model_has_prototypes_of_its_own() -> None:
    strategy, learner = PrototypeDistill(), tiny_learner(TinyTowers())
    strategy.before_experience(learner, None)
    plain_step(strategy, learner, FIRST)
    strategy.after_experience(learner, None)
    nudge(learner.model, 0.2)
    strategy.before_experience(learner, None)
    names = [*dict.fromkeys(FIRST.labels[:6])]
    assert [*strategy._bank.held] == names == [*strategy._initial_bank.held]
    # What was the student's is the previous model's; the initial one has not moved.
    assert all(torch.equal(strategy._previous_bank.held[n], strategy._bank.held[n]) for n in names)
    plain_step(strategy, learner, SECOND)
    again = PrototypeDistill()
    again.load_state_dict(strategy.state_dict())
    assert [*again._bank.held] == [*strategy._bank.held] and again.state_bytes() == strategy.state_bytes() > 0


def test_a_bank_follows_and_gives_up_the_oldest() -> None:
    held = Bank(momentum=0.5, size=2)
    held.take(["a"], torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]]))
    assert held.seen_with(["b"], torch.eye(2)[:1], torch.eye(2)[:1]).keys() == {"a", "b"} and [
        *held.held
    ] == ["a"]
    held.take(["a", "b"], torch.tensor([[0.0, 1.0], [1.0, 0.0]]), torch.eye(2))
    half = 0.5**0.5
    assert held.held["a"][0].tolist() == pytest.approx([half, half])
    held.take(["c"], torch.eye(2)[:1], torch.eye(2)[:1])
    assert [*held.held] == ["b", "c"]
    with pytest.raises(ValueError, match="size at least 1"):
        Bank(0.5, 0)


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="sharpness above 0"):
        PrototypeDistill(sharpness=0.0)
