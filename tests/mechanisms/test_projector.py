"""The projector learns by itself, resumes to the bit, and leaves the global generator alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from clplat.mechanisms.projector import Projector
from clplat.testing.checks import generator_untouched
from clplat.trees import load_tree, save_tree

ROWS, GOAL = torch.randn(2, 16, 3, generator=torch.Generator().manual_seed(0))


def learn(projector: Projector, steps: int) -> float:
    loss = torch.tensor(0.0)
    for _ in range(steps):
        loss = (projector(ROWS, 3) - GOAL).square().mean()
        torch.autograd.backward(loss)
        projector.step()
    return loss.item()


@pytest.mark.parametrize("hidden", [0, 8])
def test_it_learns_and_resumes_to_the_bit(hidden: int, tmp_path: Path) -> None:
    with generator_untouched("it draws from torch's global generator, or seeds it"):
        whole = Projector(hidden, lr=0.01, seed=1)
        begun, ended = learn(whole, 1), learn(whole, 60)
    assert ended < 0.95 * begun and whole.bytes() > 0
    first, second = Projector(hidden, lr=0.01, seed=1), Projector(hidden, lr=0.01, seed=9)
    learn(first, 20)
    save_tree(tmp_path / "state.safetensors", first.state_dict())
    second.load_state_dict(load_tree(tmp_path / "state.safetensors"))
    assert learn(second, 41) == ended


def test_a_gradient_that_is_not_finite_is_passed_over() -> None:
    projector = Projector(seed=0)
    before: Tensor = projector(ROWS, 3).detach()
    torch.autograd.backward(projector(ROWS, 3).sum() * torch.inf)
    projector.step()
    assert torch.equal(projector(ROWS, 3).detach(), before)
