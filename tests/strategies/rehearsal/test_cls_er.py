"""CLS-ER: what the averages are, which of them teaches an example, and what is deployed."""

from __future__ import annotations

import pytest
import torch

from clplat.mechanisms.per_example import losses_of
from clplat.testing import TinyTowers, nudge, plain_step, tiny_collate, tiny_domains, tiny_learner, tiny_loss
from strategies import CLSER

BATCH = tiny_collate()(tiny_domains()[0].train[:8])
OTHER = tiny_collate()(tiny_domains()[1].train[:8])


def test_the_better_average_teaches_each_example() -> None:
    strategy, model = CLSER(size=8, batch_size=8, weight=0.5), TinyTowers()
    learner = tiny_learner(model)
    strategy.before_experience(learner, None)
    assert strategy.loss(learner, BATCH, model(BATCH)) == {}
    strategy.memory.offer(BATCH, "0")
    averages = []
    for teacher, size in ((strategy._stable, 0.4), (strategy._plastic, 0.6)):
        other = TinyTowers()
        nudge(other, size)
        teacher.tensors = {n: p.detach() for n, p in other.named_parameters() if p.requires_grad}
        averages.append(other(BATCH))
    now = model(BATCH)
    slow, quick = (losses_of(BATCH, made) for made in averages)
    assert 0 < int((slow < quick).sum()) < 8, "each average is better on some"
    apart = 0.0
    for i in range(8):
        best = averages[0] if slow[i] <= quick[i] else averages[1]
        for new, old in ((now.query, best.query), (now.candidates, best.candidates)):
            apart += float((new[i].double() - old[i].double()).square().sum().detach()) / 16
    found = strategy.loss(learner, OTHER, model(OTHER))
    assert float(found["consistency"].detach()) == pytest.approx(0.5 * apart, rel=1e-4)
    assert float(found["replay"].detach()) == pytest.approx(float(tiny_loss(BATCH, now).detach()), rel=1e-5)


def test_an_average_that_seldom_moves_takes_its_share_by_the_number_of_steps() -> None:
    """As the authors' code: by its own moves the first would be half of the way, whenever it comes."""
    strategy = CLSER(size=8, batch_size=4, stable_decay=0.9, stable_rate=0.3, seed=3)
    model = TinyTowers()
    learner = tiny_learner(model)
    strategy.before_experience(learner, None)
    first, steps = strategy._stable.tensors["text.weight"].clone(), 0
    while torch.equal(strategy._stable.tensors["text.weight"], first):
        plain_step(strategy, learner, BATCH)
        steps += 1
    share = 1 - min(0.9, steps / (steps + 1))
    moved = first.lerp(model.text.weight.detach(), share)
    assert steps > 1 and torch.allclose(strategy._stable.tensors["text.weight"], moved, atol=1e-6)


def test_the_stable_average_is_deployed_and_training_goes_on_from_the_model() -> None:
    strategy = CLSER(size=8, batch_size=4, stable_decay=0.5, stable_rate=1.0, plastic_rate=0.01)
    model = TinyTowers()
    learner = tiny_learner(model)
    strategy.before_experience(learner, None)
    mean = {n: p.detach().double() for n, p in model.named_parameters() if p.requires_grad}
    for number in (1, 2, 3):
        plain_step(strategy, learner, BATCH)
        decay = min(0.5, number / (number + 1))
        mean = {
            n: decay * mean[n] + (1 - decay) * p.detach().double()
            for n, p in model.named_parameters()
            if n in mean
        }
    working = {n: p.detach().clone() for n, p in model.named_parameters() if n in mean}
    strategy.after_experience(learner, None)
    deployed = dict(model.named_parameters())
    assert all(torch.allclose(deployed[n].double(), mean[n], atol=1e-6) for n in mean)
    assert not torch.allclose(deployed["text.weight"], working["text.weight"], atol=1e-4)
    strategy.before_experience(learner, None)
    assert all(torch.equal(deployed[n], working[n]) for n in working)
    assert strategy.state_bytes() > 0
