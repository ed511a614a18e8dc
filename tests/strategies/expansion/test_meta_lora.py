"""The outer gradient is the batch's at the adapted weights; the start is kept, the adapted is measured."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from clplat.training.learner import Learner
from strategies import MetaLoRA

DATA = [(torch.tensor([float(i), 1.0]), torch.tensor([0.5 * i])) for i in range(8)]


def learner() -> Learner:
    torch.manual_seed(0)
    model = nn.Linear(2, 1).double()

    def collate(rows: list[Any]) -> Any:
        return tuple(torch.stack(column).double() for column in zip(*rows, strict=True))

    return Learner(
        model,
        torch.optim.SGD(model.parameters(), lr=0.0),
        predict_fn=lambda batch: model(batch[0]),
        loss_fn=lambda batch, outputs: (outputs - batch[1]).square().mean(),
        collate_fn=collate,
        dataset=DATA,
    )


def slope(weight: torch.Tensor, bias: torch.Tensor, batch: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Of the mean squared error, written down."""
    error = 2 * (batch[0] @ weight.T + bias - batch[1]) / len(batch[0])
    return error.T @ batch[0], error.sum(0)


def test_the_gradient_is_that_at_the_adapted_weights() -> None:
    """All of the data is support, so that what is drawn does not matter."""
    own, strategy = learner(), MetaLoRA(steps=3, rate=0.01, support=8)
    model: Any = own.model
    everything, batch = own.collate(DATA), own.collate(DATA[:3])
    start = [p.detach().clone() for p in model.parameters()]
    weight, bias = start
    for _ in range(3):
        of_weight, of_bias = slope(weight, bias, everything)
        weight, bias = weight - 0.01 * of_weight, bias - 0.01 * of_bias
    expected = slope(weight, bias, batch)
    with strategy.experience(own, DATA) as experience:
        outputs = own.predict(batch)
        loss = own.task_loss(batch, outputs) + experience.loss(batch, outputs)
        loss.backward()
        own.optimizer.step()
        for parameter, gradient, before in zip(model.parameters(), expected, start, strict=True):
            torch.testing.assert_close(parameter.grad, gradient)
            assert torch.equal(parameter, before), "the start itself is not moved by the inner loop"
    torch.testing.assert_close(model.weight.detach(), weight, msg="the adapted weights are measured")
    assert strategy.numbers()["gap"] > 0
    strategy.before_experience(own, None)
    assert all(torch.equal(p, before) for p, before in zip(model.parameters(), start, strict=True))


def test_it_refuses_what_makes_no_inner_loop() -> None:
    for wrong in ({"steps": 0}, {"support": 1}, {"rate": 0.0}):
        with pytest.raises(ValueError, match="needs steps"):
            MetaLoRA(**wrong)  # type: ignore[arg-type]
