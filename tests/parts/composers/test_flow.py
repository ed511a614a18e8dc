"""A flow from queries to answers, by hand in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from clplat.models.features import ImageFeatures, TextFeatures, Triplets
from clplat.models.outputs import Outputs
from clplat.parts.composers.flow import Flow

WIDTH, ROWS = 4, 6


def made(**options: Any) -> Flow:
    torch.manual_seed(0)
    composer = Flow(hidden=8, **options)
    composer.build(WIDTH)
    for parameter in composer.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return composer


def features() -> list[torch.Tensor]:
    draw = torch.Generator().manual_seed(1)
    return [torch.randn(ROWS, WIDTH, generator=draw) for _ in range(3)]


def network(layers: torch.nn.Sequential, x: Any) -> Any:
    for layer in layers:
        if isinstance(layer, torch.nn.Linear):
            x = x @ layer.weight.detach().double().numpy().T + layer.bias.detach().double().numpy()
        else:
            x = x / (1 + np.exp(-x))
    return x


def unit(x: Any) -> Any:
    x = np.asarray(x.double())
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def source(composer: Flow, shown: Any, said: Any) -> tuple[Any, Any]:
    r, t = unit(shown), unit(said)
    added = network(composer.encoder, np.concatenate([r, t], 1))
    return r + t + added[:, :WIDTH], added[:, WIDTH:]


def velocity(composer: Flow, z: Any, time: Any, paired: Any) -> Any:
    columns = [np.broadcast_to(np.asarray(one, dtype=float), (len(z), 1)) for one in (time, paired)]
    return network(composer.velocity, np.concatenate([z, *columns], 1))


@pytest.mark.parametrize("guidance", [1.0, 2.5])
def test_eulers_steps_by_hand(guidance: float) -> None:
    composer, (shown, said, _) = made(steps=3, guidance=guidance).eval(), features()
    z, _ = source(composer, shown, said)
    for step in range(3):
        v1, v0 = (velocity(composer, z, step / 3, paired) for paired in (1, 0))
        z = z + (v1 + (guidance - 1) * (v1 - v0)) / 3
    np.testing.assert_allclose(composer(shown, said).detach().double(), z, atol=1e-5)


def test_the_loss_of_the_flow_and_its_divergence_by_hand() -> None:
    composer, (shown, said, answers) = made(unpaired=0.5, kl=0.01, matching=2.0).train(), features()
    seen = Triplets(
        rows=list(range(ROWS)),
        reference=ImageFeatures(pooled=shown),
        text=TextFeatures(pooled=said),
        answer=ImageFeatures(pooled=answers),
    )
    outputs = Outputs(shown, answers, torch.tensor(1.0), triplets=seen)
    torch.manual_seed(3)
    terms = composer.terms(None, outputs)
    torch.manual_seed(3)
    noise, draw = torch.randn(ROWS, WIDTH).double().numpy(), torch.rand(ROWS, 2).double().numpy()
    mean, spread = source(composer, shown, said)
    start, goal = mean + np.exp(spread / 2) * noise, unit(answers)
    paired = draw[:, :1] >= 0.5
    assert 0 < paired.sum() < ROWS
    goal = np.where(paired, goal, np.roll(goal, 1, axis=0))
    time = draw[:, 1:]
    flow = velocity(composer, (1 - time) * start + time * goal, time, paired) - (goal - start)
    kl = 0.5 * (mean**2 + np.exp(spread) - 1 - spread).mean()
    terms = {name: term.detach() for name, term in terms.items()}
    assert float(terms["flow"]) == pytest.approx(2.0 * (flow**2).mean(), rel=1e-4)
    assert float(terms["kl"]) == pytest.approx(0.01 * kl, rel=1e-4)


def test_it_starts_as_the_sum_and_learns_a_flow() -> None:
    shown, said, answers = features()
    torch.manual_seed(0)
    composer = Flow(hidden=32, kl=0.0)
    composer.build(WIDTH)
    total = torch.from_numpy(unit(shown) + unit(said)).float()
    assert torch.allclose(composer(shown, said), total, atol=1e-6)
    goal = torch.from_numpy(unit(answers)).float()
    seen = Triplets(
        rows=list(range(ROWS)),
        reference=ImageFeatures(pooled=shown),
        text=TextFeatures(pooled=said),
        answer=ImageFeatures(pooled=answers),
    )
    outputs = Outputs(shown, answers, torch.tensor(1.0), triplets=seen)
    optimizer = torch.optim.Adam(composer.parameters(), lr=0.01)
    before = (composer(shown, said) - goal).square().sum(1).mean()
    for _ in range(150):
        optimizer.zero_grad()
        sum(composer.terms(None, outputs).values()).backward()
        optimizer.step()
    after = (composer.eval()(shown, said) - goal).square().sum(1).mean()
    assert after < 0.4 * before
    with pytest.raises(ValueError, match="guidance"):
        Flow(guidance=0.5)
