"""Knowledge consolidation against its formula in float64; the projector learns with the model."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch.nn.functional import cross_entropy, normalize

from clplat.testing import TinyTowers, nudge, tiny_collate, tiny_domains, tiny_learner
from strategies import KnowledgeConsolidation

BATCH = tiny_collate()(tiny_domains()[0].train[:6])
DOMAIN = SimpleNamespace(dataset=tiny_domains()[0].train)


def test_all_embeddings_of_a_batch_find_their_old_ones() -> None:
    strategy, model = KnowledgeConsolidation(weight=1.5, temperature=0.1, seed=4), TinyTowers()
    learner, old = tiny_learner(model), model(BATCH)
    strategy.before_experience(learner, DOMAIN)
    nudge(model, 0.3)
    new = model(BATCH)
    found = strategy.loss(learner, BATCH, new)["consolidation"]
    z, before = (torch.cat([made.query, made.candidates[:6]]).double() for made in (new, old))
    layer = strategy.state_dict()["projector"]["weights"]
    h = normalize(z @ layer["0.weight"].double().T + layer["0.bias"].double(), dim=-1)
    logits, right = h @ before.T / 0.1, torch.arange(12)
    expected = (cross_entropy(logits, right) + cross_entropy(logits.T, right)) / 2
    assert float(found.detach()) == pytest.approx(1.5 * float(expected.detach()), rel=1e-3)


def test_the_projector_is_trained_and_the_teacher_gets_no_gradient() -> None:
    strategy, model, losses = KnowledgeConsolidation(lr=0.01), TinyTowers(), []
    learner = tiny_learner(model)
    strategy.before_experience(learner, DOMAIN)
    for _ in range(20):
        outputs = model(BATCH)
        loss = strategy.loss(learner, BATCH, outputs)["consolidation"]
        torch.autograd.backward(loss)
        strategy.after_step(learner, BATCH, outputs)
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0], "the weights of the model did not move"
