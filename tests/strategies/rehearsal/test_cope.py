"""CoPE: its loss on both kinds of outputs, and what a classifier is deployed with."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from clplat.mechanisms.prototypes import ppp_loss
from clplat.testing import TinyTowers, plain_step, tiny_collate, tiny_domains, tiny_learner
from clplat.training.learner import Learner
from strategies import CoPE

BATCH = tiny_collate()(tiny_domains()[0].train[:8])
OTHER = tiny_collate()(tiny_domains()[1].train[:8])


def test_of_embeddings_an_answer_is_a_class() -> None:
    strategy, model = CoPE(size=8, batch_size=8, weight=0.5, temperature=0.1), TinyTowers()
    learner = tiny_learner(model)
    learner.dataset = tiny_domains()[0].train[:8]
    plain_step(strategy, learner, BATCH)
    strategy.after_experience(learner, None)
    held = dict(strategy._prototypes)
    assert set(held) == set(BATCH.labels)
    now, new = model(BATCH), model(OTHER)
    labels = [*OTHER.labels, *OTHER.labels, *BATCH.labels, *BATCH.labels]
    rows = torch.cat([new.query, new.candidates, now.query, now.candidates]).double()
    for label in dict.fromkeys(OTHER.labels):  # met for the first time: the mean of its rows
        own = rows[[i for i, other in enumerate(labels) if other == label]]
        held[label] = F.normalize(own.mean(0), dim=0).float().detach()
    place = {name: i for i, name in enumerate(held)}
    own = torch.tensor([place[label] for label in labels])
    expected = 0.5 * ppp_loss(rows, own, torch.stack([*held.values()]).double(), 0.1)
    found = strategy.loss(learner, OTHER, new)["prototypes"]
    assert float(found.detach()) == pytest.approx(float(expected.detach()), rel=1e-4)


def test_a_classifier_learns_by_prototypes_alone_and_answers_with_them() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 3))
        x = torch.randn(12, 3)
    y = torch.arange(12) % 2
    learner = Learner(model, torch.optim.SGD(model.parameters(), lr=0.1), dataset=[*zip(x, y, strict=True)])
    learner.predict_fn, learner.loss_fn = lambda b: model(b[0]), lambda b, made: F.cross_entropy(made, b[1])
    strategy, outputs = CoPE(size=4, batch_size=4, momentum=0.99, temperature=0.1), model(x)
    found = F.cross_entropy(outputs, y) + strategy.loss(learner, (x, y), outputs)["prototypes"]
    rows = F.normalize(model[:2](x), dim=1)
    means = F.normalize(torch.stack([F.normalize(rows[y == c].mean(0), dim=0) for c in (0, 1)]), dim=1)
    assert float(found.detach()) == pytest.approx(float(ppp_loss(rows, y, means).detach()), rel=1e-4)
    strategy.after_step(learner, (x, y), outputs)
    strategy.after_experience(learner, None)
    assert torch.equal(model(x).argmax(1), (rows @ means.T).argmax(1)), "and never the class that was not met"
