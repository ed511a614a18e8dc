"""DER++ adds what its formula says of the embeddings that were stored when they were made."""

from __future__ import annotations

import pytest
import torch

from clplat.testing import TinyTowers, nudge, plain_step, tiny_collate, tiny_domains, tiny_learner, tiny_loss
from clplat.training.learner import Learner
from strategies import DER

BATCH = tiny_collate()(tiny_domains()[0].train[:8])
OTHER = tiny_collate()(tiny_domains()[1].train[:8])


def test_both_terms_are_what_the_formula_says() -> None:
    strategy, model = DER(size=8, batch_size=8, alpha=0.5, beta=0.25), TinyTowers()
    learner = tiny_learner(model)
    then = model(BATCH)
    assert strategy.loss(learner, BATCH, then) == {}, "nothing is stored yet"
    strategy.after_step(learner, BATCH, then)
    nudge(model, 0.3)
    now = model(BATCH)
    found = strategy.loss(learner, OTHER, model(OTHER))
    apart = 0.0
    for i in range(8):
        for new, old in ((now.query, then.query), (now.candidates, then.candidates)):
            apart += float((new[i].detach().double() - old[i].detach().double()).square().sum()) / 8
    assert apart > 0.01 and float(found["dark"].detach()) == pytest.approx(0.5 * apart / 2, rel=1e-4)
    replayed = 0.25 * float(tiny_loss(BATCH, now).detach())  # of all eight, in whatever order
    assert float(found["replay"].detach()) == pytest.approx(replayed, rel=1e-4)


def test_what_is_stored_is_of_the_model_that_made_it() -> None:
    strategy, model = DER(size=100, batch_size=4), TinyTowers()
    learner, seen = tiny_learner(model), {}
    for batch in (BATCH, OTHER):
        with torch.no_grad():
            made = model(batch)  # before the step: what the loss was computed on
        seen |= {name: made.query[i] for i, name in enumerate(batch.ids)}
        plain_step(strategy, learner, batch)
    rows = [row for group in strategy.memory.state_dict()["groups"].values() for row in group]
    assert len(rows) == 16 and all(torch.equal(row[1], seen[row[0]["example"]["ids"][0]]) for row in rows)
    assert strategy.memory_bytes() > 16 * 2 * 4 * 8, "the embeddings are counted"


def test_at_the_end_own_examples_are_stored_as_the_model_knows_them_by_then() -> None:
    """Outputs from before it learnt a class would be held against it for ever."""
    logits, embeddings = torch.nn.Linear(2, 3), TinyTowers()
    x, y = torch.eye(2), torch.tensor([0, 1])
    cases = (
        (Learner(logits, predict_fn=lambda batch: logits(batch[0])), (x, y), lambda: logits(x)),
        (tiny_learner(embeddings), BATCH, lambda: embeddings(BATCH).query),
    )
    for learner, batch, rows_now in cases:
        strategy = DER(size=8, batch_size=3)
        strategy.after_step(learner, batch, learner.predict(batch))
        nudge(learner.model, 0.5)
        strategy.after_experience(learner, None)
        stored = torch.stack([row[1] for row in strategy.memory.groups["0"]])
        apart = torch.cdist(stored, rows_now().detach()).min(1).values  # a reservoir keeps no order
        assert len(stored) == len(rows_now()) and float(apart.max()) < 1e-5


def test_by_gamma_stored_embeddings_keep_their_share() -> None:
    strategy, model = DER(size=8, batch_size=3, gamma=0.75, renew=False), TinyTowers()
    learner, then = tiny_learner(model), model(BATCH)
    strategy.after_step(learner, BATCH, then)
    nudge(model, 0.3)
    strategy.after_experience(learner, None)
    stored = dict(zip(BATCH.ids, then.query.detach(), strict=True))
    rows = strategy.memory.groups["0"]
    assert all(torch.equal(row[1], stored[row[0]["example"]["ids"][0]]) for row in rows), "of this experience"
    learner.begin(1)
    strategy.after_experience(learner, None)
    now = dict(zip(BATCH.ids, model(BATCH).query.detach(), strict=True))
    for row in rows:
        name = row[0]["example"]["ids"][0]
        moved = torch.nn.functional.normalize(0.75 * stored[name] + 0.25 * now[name], dim=0)
        assert torch.allclose(row[1], moved, atol=1e-6)


def test_by_gamma_the_logits_of_later_classes_are_brought_up_to_date() -> None:
    strategy, model = DER(size=4, batch_size=4, gamma=0.85, renew=False), torch.nn.Linear(2, 4)
    learner = Learner(model, predict_fn=lambda batch: model(batch[0]))
    x, y = torch.eye(2), torch.tensor([0, 1])
    stored = torch.tensor([[2.0, -1.0, 9.0, 9.0], [0.5, 3.0, 9.0, 9.0]])
    strategy.after_step(learner, (x, y), stored)
    strategy.after_experience(learner, None)
    assert [row[1].tolist() for row in strategy.memory.groups["0"]] == stored.tolist()
    learner.begin(1)
    strategy.after_step(learner, (x[:1], torch.tensor([2])), torch.zeros(1, 4))
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[0.0, 0.0], [0.0, 0.0], [4.0, 1.0], [7.0, 7.0]]))
        model.bias.zero_()
    strategy.after_experience(learner, None)
    # Class 2 was met now: 4 exceeds the right logit 2 and becomes 0.85 * 2; 1 does not exceed 3 and stays.
    kept = [row[1].tolist() for row in strategy.memory.groups["0"]]
    assert kept[0] == pytest.approx([2.0, -1.0, 1.7, 9.0]) and kept[1] == pytest.approx([0.5, 3.0, 1.0, 9.0])
