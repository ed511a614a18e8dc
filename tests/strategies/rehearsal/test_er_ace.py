"""ER-ACE: which negatives count for new examples, and which for stored ones."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from clplat.testing import TinyTowers, tiny_collate, tiny_domains, tiny_learner
from clplat.training.learner import Learner
from strategies import ERACE

BATCH = tiny_collate()(tiny_domains()[0].train[:8])
OTHER = tiny_collate()(tiny_domains()[1].train[:8])


def test_stored_queries_have_the_new_candidates_as_negatives() -> None:
    strategy, model = ERACE(size=8, batch_size=8, weight=0.5), TinyTowers()
    learner = tiny_learner(model)
    assert strategy.loss(learner, BATCH, model(BATCH)) == {}
    strategy.after_step(learner, BATCH, model(BATCH))
    now, new = model(BATCH), model(OTHER)
    # One candidate of the new domain is a right answer: it is no negative.
    OTHER.columns["labels"].value[3] = BATCH.labels[0]
    labels = [*BATCH.labels, *OTHER.labels]
    total = 0.0
    for i in range(8):
        rows = torch.cat([now.candidates, new.candidates]).double()
        logits = (10.0 * now.query[i].double() @ rows.T).log_softmax(0)
        right = [c for c in range(16) if labels[c] == BATCH.labels[i]]
        total -= float(logits[right].mean().detach()) / 8
    term = strategy.loss(learner, OTHER, new)["replay"]
    assert float(term.detach()) == pytest.approx(0.5 * total, rel=1e-5)
    slopes = torch.autograd.grad(term, [new.candidates], allow_unused=True)
    assert slopes == (None,), "stored queries do not move new candidates"


def test_of_new_logits_other_classes_are_left_out() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = torch.nn.Linear(3, 4).double()
        x, y = torch.randn(6, 3).double(), torch.tensor([0, 1, 0, 1, 0, 1])
        new, z = torch.randn(5, 3).double(), torch.tensor([2, 3, 2, 2, 3])
    learner = Learner(model, predict_fn=lambda batch: model(batch[0]))
    learner.loss_fn = lambda batch, outputs: F.cross_entropy(outputs, batch[1])
    strategy = ERACE(size=6, batch_size=6)
    strategy.after_step(learner, (x, y), model(x))
    made = model(new)
    term = strategy.loss(learner, (new, z), made)["replay"]
    whole = F.cross_entropy(made, z) + term
    alone = F.cross_entropy(made[:, 2:], z - 2) + F.cross_entropy(model(x), y)
    assert float(whole.detach()) == pytest.approx(float(alone.detach()))
    (slope,) = torch.autograd.grad(whole, [made])
    assert torch.allclose(slope[:, :2], torch.zeros(5, 2).double(), atol=1e-12), "old classes are not lowered"
    with pytest.raises(TypeError, match="integer classes"):
        strategy.loss(learner, new, made)
