"""OGD: a linear model's right scores of stored examples stay as they are."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from clplat.randomness import generator
from clplat.testing.checks import weights
from clplat.training.learner import Learner
from strategies import OGD

ROWS = torch.randn(12, 6, generator=generator(0, "rows"), dtype=torch.float64)
LABELS = torch.arange(12) % 3


@pytest.mark.parametrize("optimizer", ["SGD", "AdamW"])
def test_what_was_said_of_stored_examples_stays(optimizer: str) -> None:
    model = nn.Linear(6, 3).double()
    learner = Learner(model, getattr(torch.optim, optimizer)(model.parameters(), lr=0.1))
    learner.predict_fn = lambda batch: model(batch[0])
    strategy = OGD(examples=4, batch_size=2)
    for number, rows in enumerate((slice(0, 4), slice(4, 12))):
        data = [*zip(ROWS[rows], LABELS[rows], strict=True)]
        with strategy.experience(learner, data, number) as experience:
            before = model(ROWS[:4])[range(4), LABELS[:4]].detach()
            start = weights(model)["weight"]
            for _ in range(4):
                learner.optimizer.zero_grad()
                loss = nn.functional.cross_entropy(model(ROWS[rows]), LABELS[rows])
                (loss + experience.loss(None, None)).backward()
                learner.optimizer.step()
            after = model(ROWS[:4])[range(4), LABELS[:4]].detach()
            assert torch.allclose(before, after, atol=1e-9) == (number == 1)
            assert not torch.allclose(start, weights(model)["weight"], atol=1e-3), "it learns all the same"
    basis = torch.cat([rows.flatten(1) for rows in strategy._basis.values()], dim=1)
    assert basis.shape == (8, 21) and torch.allclose(basis @ basis.T, torch.eye(8).double(), atol=1e-8)


def test_the_basis_is_bounded_and_follows_a_head_that_grows() -> None:
    model = nn.Linear(6, 3).double()
    learner = Learner(model, torch.optim.SGD(model.parameters(), lr=0.1))
    learner.predict_fn = lambda batch: model(batch[0])
    strategy = OGD(examples=4, megabytes=6.5 * 21 * 8 / 2**20)
    for start in (0, 4):
        learner.dataset = [*zip(ROWS[start : start + 4], LABELS[:4], strict=True)]
        strategy.after_experience(learner, None)
    assert strategy.state_bytes() == 6 * 21 * 8
    old = {name: rows.clone() for name, rows in strategy._basis.items()}
    model.weight = nn.Parameter(torch.zeros(4, 6, dtype=torch.float64))
    changes = {"weight": torch.ones(4, 6, dtype=torch.float64)}
    strategy._project(changes)
    assert torch.equal(changes["weight"][3], torch.ones(6).double()), "what is new is free"
    along = torch.einsum("kij,ij->k", old["weight"], torch.ones(3, 6).double())
    expected = 1 - torch.einsum("k,kij->ij", along, old["weight"])
    assert torch.allclose(changes["weight"][:3], expected)


def test_labels_are_needed() -> None:
    model = nn.Linear(6, 3).double()
    learner = Learner(model, predict_fn=model, collate_fn=torch.stack, dataset=[*ROWS])
    with pytest.raises(TypeError, match=r"ogd needs batches \(x, y, \.\.\.\) with integer classes y"):
        OGD().after_experience(learner, None)
