"""MIR rehearses those exemplars whose loss the virtual step raises most, and leaves the model as it was."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F

from clplat.mechanisms.examples import split_batch
from clplat.testing import TinyTowers, task_gradients, tiny_collate, tiny_domains, tiny_learner, tiny_loss
from strategies import MIR

BATCH = tiny_collate()(tiny_domains()[0].train[:8])
OTHER = tiny_collate()(tiny_domains()[1].train[:8])


def test_the_most_harmed_are_rehearsed() -> None:
    strategy, model = MIR(size=8, batch_size=3, candidates=8, weight=0.5), TinyTowers()
    learner = tiny_learner(model, lr=0.5)
    assert strategy.loss(learner, BATCH, model(BATCH)) == {}
    strategy.after_step(learner, BATCH, model(BATCH))
    assert strategy.loss(learner, OTHER, model(OTHER)) == {}, "of this experience nothing is rehearsed"
    learner.begin(1)
    slopes, stepped = task_gradients(model, OTHER), copy.deepcopy(model)
    for name, parameter in stepped.named_parameters():
        if name in slopes:
            parameter.data -= 0.5 * slopes[name]
    drawn = copy.deepcopy(strategy.memory).sample(8)
    raised = []
    for i, own in enumerate(drawn.positive):
        losses = []
        for net in (model, stepped):
            made = net(drawn)
            scores = 10.0 * made.query[i].double() @ made.candidates.double().T
            keep = [c for c in range(8) if c == i or not own[c]]
            losses.append(-float(scores[keep].log_softmax(0)[keep.index(i)].detach()))
        raised.append(losses[1] - losses[0])
    chosen = sorted(sorted(range(8), key=raised.__getitem__)[-3:])
    assert max(raised) > min(raised) + 1e-4

    weights = {name: p.detach().clone() for name, p in model.named_parameters()}
    outputs = model(OTHER)
    found = strategy.loss(learner, OTHER, outputs)["replay"]
    together = drawn.part(chosen)
    assert float(found.detach()) == pytest.approx(
        0.5 * float(tiny_loss(together, model(together)).detach()), rel=1e-5
    )
    assert all(torch.equal(weights[name], p) for name, p in model.named_parameters()), "the step is virtual"
    (tiny_loss(OTHER, outputs) + found).backward()  # the graph of the step itself is still there


def test_of_a_classifier_the_loss_is_that_of_the_class() -> None:
    strategy, model = MIR(size=6, batch_size=2, candidates=6), torch.nn.Linear(2, 3)
    torch.nn.init.zeros_(model.weight)
    torch.nn.init.zeros_(model.bias)
    learner = tiny_learner(model)
    learner.predict_fn = lambda batch: model(batch[0])
    seen: list[list[int]] = []

    def loss(batch: tuple[torch.Tensor, torch.Tensor], outputs: torch.Tensor) -> torch.Tensor:
        seen.append(batch[1].tolist())
        return F.cross_entropy(outputs, batch[1])

    learner.loss_fn = loss
    x = torch.eye(2)[torch.tensor([0, 0, 0, 1, 1, 1])]
    strategy.after_step(learner, (x, torch.tensor([0, 0, 0, 1, 1, 1])), model(x))
    assert len(split_batch((x, x))) == 6
    learner.begin(1)
    new = (torch.eye(2)[[1, 1]], torch.tensor([2, 2]))
    strategy.loss(learner, new, model(new[0]))
    assert seen[-1] == [1, 1], "those that look as the new class does"
