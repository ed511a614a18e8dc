"""Scaled gradients by hand: after backward, before the step, of what is meant, by what is new."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from clplat.errors import UserError
from clplat.parts.prompts.deep import DeepPrompt
from clplat.randomness import generator
from clplat.testing import tiny_domains, tiny_learner, tiny_retriever
from clplat.testing.loop import Experience
from clplat.training.learner import Learner
from strategies import ScaledGradients

ROWS = torch.randn(12, 3, generator=generator(0, "rows"), dtype=torch.float64)
LABELS = [0, 1, 0, 1, 2, 0, 1, 2, 2, 2, 3, 3]


def trained(strategy: ScaledGradients, optimizer: str = "SGD", momentum: float = 0.9) -> list[torch.Tensor]:
    """Weight and bias after each step: two experiences of 4 and 8 examples, two steps each."""
    model = nn.Linear(3, 1).double()
    nn.init.ones_(model.weight), nn.init.ones_(model.bias)
    options = {"momentum": momentum} if optimizer == "SGD" else {}
    learner = Learner(model, getattr(torch.optim, optimizer)(model.parameters(), lr=0.1, **options))
    seen = []
    for rows in (slice(0, 4), slice(4, 12)):
        with strategy.experience(learner, [*zip(ROWS[rows], LABELS[rows], strict=True)]) as experience:
            for _ in range(2):
                learner.optimizer.zero_grad()
                (model(ROWS[rows]).square().mean() + experience.loss(None, None)).backward()
                learner.optimizer.step()
                seen.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    return seen


def by_hand(share: float, momentum: float, only_weight: bool = False) -> list[torch.Tensor]:
    """The same, with the gradient ``2 mean(x y)`` scaled by the share before momentum takes it."""
    theta, pace, seen = torch.ones(4).double(), torch.zeros(4).double(), []
    scale = torch.tensor([share] * 3 + [1.0 if only_weight else share]).double()
    for number, rows in enumerate((slice(0, 4), slice(4, 12))):
        x = torch.cat([ROWS[rows], torch.ones(len(ROWS[rows]), 1).double()], 1)
        for _ in range(2):
            gradient = 2 * (x * (x @ theta)[:, None]).mean(0)
            pace = momentum * pace + (scale if number else 1.0) * gradient
            theta = theta - 0.1 * pace
            seen.append(theta)
    return seen


# Of 12 examples 8 are new; of four labels two are (0 and 1 were there before); of two domains one.
@pytest.mark.parametrize(("by", "share"), [("examples", 8 / 12), ("labels", 2 / 4), ("domains", 1 / 2)])
def test_the_gradient_is_scaled_before_the_optimizer_takes_it(by: str, share: float) -> None:
    strategy = ScaledGradients(of="gradient", by=by)  # type: ignore[arg-type]
    for made, expected in zip(trained(strategy), by_hand(share, 0.9), strict=True):
        assert torch.allclose(made, expected, atol=1e-12)
    assert strategy.numbers() == {"share": share}


def test_the_movement_is_scaled_with_any_optimizer_and_is_the_gradients_with_plain_sgd() -> None:
    for made, expected in zip(trained(ScaledGradients(), momentum=0), by_hand(8 / 12, 0), strict=True):
        assert torch.allclose(made, expected, atol=1e-12)
    free, held = trained(ScaledGradients(tensors="nothing"), "AdamW"), trained(ScaledGradients(), "AdamW")
    assert torch.equal(free[1], held[1]), "the first experience is whole"
    assert torch.allclose(held[2] - held[1], (free[2] - free[1]) * 8 / 12, atol=1e-12)


def test_tensors_that_are_not_meant_move_on() -> None:
    strategy = ScaledGradients(of="gradient", tensors="weight")
    expected = by_hand(8 / 12, 0.9, only_weight=True)
    for made, wanted in zip(trained(strategy), expected, strict=True):
        assert torch.allclose(made, wanted, atol=1e-12)


def test_what_would_have_no_effect_is_refused() -> None:
    with pytest.raises(UserError, match="needs sgd, Adam divides"):
        trained(ScaledGradients(of="gradient"), "AdamW")
    with pytest.raises(ValueError, match="no regular expression"):
        ScaledGradients(tensors="(")


def test_the_tensor_and_the_map_of_cpe_clip_are_both_scaled() -> None:
    model, data = tiny_retriever(), tiny_domains()[0].train
    DeepPrompt(length=2, depth=2, maps="one").attach(model.backbone)
    strategy, learner = ScaledGradients(of="gradient", tensors="prompt"), tiny_learner(model)
    for number, size in enumerate((8, 4)):
        strategy.before_experience(learner, Experience(data[:size], number, []))
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    for parameter in named.values():
        parameter.grad = torch.ones_like(parameter)
    strategy.after_backward(learner)
    scaled = {name for name, p in named.items() if torch.equal(p.grad, torch.full_like(p, 4 / 12))}
    assert scaled == {name for name in named if "prompt" in name} and len({*named}) > len(scaled)
    assert {name.split(".")[1] for name in scaled} == {"text_prompt", "image_prompt"}
