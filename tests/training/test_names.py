"""Names are those of the bare model, whatever torch has put around parts of it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from clplat import registry
from clplat.errors import UserError
from clplat.testing import tiny_backbone
from clplat.testing.loop import Compiled
from clplat.training.learner import Learner
from strategies import EWC, SI, Distill, L2Anchor, WeightAverage


def world(compiled: bool) -> tuple[Learner, nn.Module]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Linear(6, 3))
    if compiled:
        model[0], model[1] = (torch.compile(model[i], backend="eager") for i in (0, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return Learner(model, optimizer, lambda batch: model(batch[0])), model


def train(strategy: Any, learner: Learner, number: int) -> None:
    draw = torch.Generator().manual_seed(number)
    batch = torch.randn(8, 4, generator=draw), torch.randint(3, (8,), generator=draw)
    with strategy.experience(learner, number=number) as experience:
        for _ in range(2):
            outputs: Tensor = learner.predict(batch)
            learner.optimizer.zero_grad()
            loss = cross_entropy(outputs, batch[1]) + experience.loss(batch, outputs)
            loss.backward()  # type: ignore[no-untyped-call]
            learner.optimizer.step()


@pytest.mark.parametrize("kind", [EWC, SI, L2Anchor, Distill, WeightAverage])
def test_a_state_goes_on_with_and_without_torch_compile(kind: Any) -> None:
    with torch.compiler.set_stance("force_eager"):
        ends = []
        for compiled in (True, False):
            first, second = kind(), kind()
            learner, model = world(compiled)
            train(first, learner, 0)
            second.load_state_dict(first.state_dict())
            other, twin = world(not compiled)
            for own, there in zip(twin.parameters(), model.parameters(), strict=True):
                own.data.copy_(there)
            for own, there in zip(twin.buffers(), model.buffers(), strict=True):
                own.copy_(there)
            train(second, other, 1)
            ends.append([p.detach().clone() for p in twin.parameters()])
    assert all(torch.equal(one, two) for one, two in zip(*ends, strict=True))


@pytest.mark.parametrize("name", ["full", "lora", "moe", "unipt"])
def test_adapters_are_attached_before_a_part_is_wrapped(name: str) -> None:
    backbone = tiny_backbone()
    backbone.model.visual = Compiled(backbone.model.visual)
    with pytest.raises(
        UserError, match=r"'visual' is inside a wrapper.*: attach first; `visual.compile\(\)`"
    ):
        registry.load("adapters", name)().attach(backbone)
