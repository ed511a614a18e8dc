"""iCaRL: its terms, and the nearest mean of exemplars that a classifier is deployed with."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from clplat.mechanisms.memory.coresets import herding
from clplat.testing import TinyTowers, nudge, tiny_collate, tiny_domains, tiny_learner, tiny_loss
from clplat.training.learner import Learner
from strategies import ICaRL

BATCH = tiny_collate()(tiny_domains()[0].train[:8])
OTHER = tiny_collate()(tiny_domains()[1].train[:8])


def test_both_batches_are_held_to_the_previous_model() -> None:
    strategy, model = ICaRL(size=8, batch_size=8, weight=0.5), TinyTowers()
    learner = tiny_learner(model)
    learner.dataset = tiny_domains()[0].train[:8]
    strategy.before_experience(learner, None)
    assert strategy.loss(learner, BATCH, model(BATCH)) == {}
    strategy.after_experience(learner, None)
    strategy.before_experience(learner, None)
    then = [model(batch) for batch in (OTHER, BATCH)]
    nudge(model, 0.3)
    now = [model(batch) for batch in (OTHER, BATCH)]
    apart = 0.0
    for new, old in zip(now, then, strict=True):
        s, t = (20 * (made.query.double() @ made.candidates.double().T) for made in (new, old))
        for student, teacher in ((s, t), (s.T, t.T)):
            p = teacher.softmax(1)
            apart += float((p * (p.log() - student.log_softmax(1))).sum(1).mean().detach()) / 2
    found = strategy.loss(learner, OTHER, now[0])
    assert float(found["distill"].detach()) == pytest.approx(0.5 * apart, rel=1e-3)
    assert float(found["replay"].detach()) == pytest.approx(
        float(tiny_loss(BATCH, now[1]).detach()), rel=1e-5
    )


def test_a_classifier_answers_with_the_nearest_mean_and_trains_on_as_it_was() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 4))
        x, y = torch.randn(40, 3), torch.arange(40) % 3
    learner = Learner(model, predict_fn=lambda batch: model(batch[0]), dataset=[*zip(x, y, strict=True)])
    strategy, trained = ICaRL(size=15, batch_size=4), model[2].weight.detach().clone()
    strategy.before_experience(learner, None)
    strategy.after_experience(learner, None)
    features = F.normalize(model[:2](x), dim=1).detach()
    means = []
    for number in range(3):
        own = features[y == number]
        chosen = own[herding(own[:, None], 5)]
        means.append(F.normalize(chosen.mean(0), dim=0))
    apart = torch.stack([(features - mean).norm(dim=1) for mean in means], dim=1)
    assert torch.equal(model(x).argmax(1), apart.argmin(1)), "and never the class that was not met"
    assert len({*apart.argmin(1).tolist()}) == 3
    strategy.before_experience(learner, None)
    assert torch.equal(model[2].weight, trained)
