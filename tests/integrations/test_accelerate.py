"""accelerate: batches that are accumulated, gradients that are scaled, and two processes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from clplat import registry
from clplat.integrations.accelerate import backward
from clplat.testing.by_hand import Calls, by_hand, sgd
from clplat.training.learner import Learner
from clplat.training.strategy import Strategy

accelerate = pytest.importorskip("accelerate", reason="it comes with the extra [test-integrations]")

#: What these make of a step depends on its gradient and weights alone, not on how its batches were cut.
SAME = ("naive", "ewc", "si", "l2_anchor", "patch", "weight_average")


def judge(batch: Any, outputs: Tensor) -> Tensor:
    return cross_entropy(outputs, batch[1])


def world() -> Learner:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3))
    return Learner(model, None, lambda batch: model(batch[0]), judge)


def stream() -> list[TensorDataset]:
    draw = torch.Generator().manual_seed(1)
    return [
        TensorDataset(torch.randn(16, 5, generator=draw), torch.randint(3, (16,), generator=draw))
        for _ in range(2)
    ]


def train(strategy: Strategy, learner: Learner, accelerator: Any, size: int) -> None:
    for dataset in stream():
        with strategy.experience(learner, dataset) as experience:
            model, optimizer, loader = accelerator.prepare(
                learner.model, sgd(learner.model), DataLoader(dataset, size)
            )
            experience.follow(optimizer)
            for batch in loader:
                with accelerator.accumulate(model):
                    outputs = model(batch[0])
                    loss = judge(batch, outputs) + experience.loss(batch, outputs)
                    backward(accelerator, loss, experience)
                    optimizer.step()
                    optimizer.zero_grad()


def expected(name: str) -> tuple[Calls, nn.Module]:
    calls, learner, data = Calls(), world(), stream()
    batches = [[[*part] for part in zip(*(c.split(8) for c in d.tensors), strict=True)] for d in data]
    by_hand(calls.watch(registry.load("strategies", name)()), learner, data, batches)
    return calls, learner.model


def differs(model: nn.Module, other: nn.Module) -> bool:
    pairs = zip(model.parameters(), other.parameters(), strict=True)
    return not all(torch.allclose(one, two, atol=1e-6) for one, two in pairs)


@pytest.mark.parametrize("scale", [None, 1024.0])
@pytest.mark.parametrize("name", SAME)
def test_accumulated_and_scaled_gradients_are_those_of_the_whole_batch(
    name: str, scale: float | None
) -> None:
    accelerate.state.AcceleratorState._reset_state(True)
    accelerator = accelerate.Accelerator(cpu=True, gradient_accumulation_steps=2)
    if scale is not None:  # on a GPU, fp16 makes one
        accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=scale)
    calls, learner = Calls(), world()
    train(calls.watch(registry.load("strategies", name)()), learner, accelerator, size=4)
    whole, model = expected(name)
    assert calls.norms == pytest.approx(whole.norms, rel=1e-5)
    assert not differs(learner.model, model)


def in_two_processes() -> None:
    torch.set_num_threads(1)
    accelerate.state.AcceleratorState._reset_state(True)
    accelerator = accelerate.Accelerator(cpu=True)
    assert accelerator.num_processes == 2
    for name in (*SAME, "mas", "replay", "agem", "der"):
        learner = world()
        strategy = registry.load("strategies", name)()
        train(strategy, learner, accelerator, size=4)
        flat = torch.cat([p.detach().flatten() for p in learner.model.parameters()])
        first, second = accelerator.gather(flat).chunk(2)
        assert torch.equal(first, second), f"{name}: the processes drift apart"
        if name in SAME:
            assert not differs(learner.model, expected(name)[1]), f"{name}: not the whole batch's weights"


def test_two_processes_train_as_one() -> None:
    accelerate.debug_launcher(in_two_processes, num_processes=2)
