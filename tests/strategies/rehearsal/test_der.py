"""DER++ adds what its formula says of the embeddings that were stored when they were made."""

from __future__ import annotations

import pytest
import torch

from clplat.testing import TinyTowers, nudge, plain_step, tiny_collate, tiny_domains, tiny_learner, tiny_loss
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
