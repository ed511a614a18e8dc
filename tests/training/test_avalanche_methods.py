"""Our SI, MAS and DER++ beside Avalanche's own: on a small stream both forget less than plain training."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from avalanche.benchmarks import tensors_benchmark
from avalanche.training import DER as StockDER
from avalanche.training import Naive as StockNaive
from avalanche.training.plugins import EvaluationPlugin, MASPlugin, SynapticIntelligencePlugin
from torch import Tensor, nn

from clplat.randomness import seeded
from strategies import DER, MAS, SI

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def domain(number: int) -> tuple[Tensor, Tensor]:
    """Four classes around centres that differ from domain to domain."""
    draw = torch.Generator().manual_seed(number)
    centres = 3 * torch.randn(4, 3, generator=draw)
    y = torch.arange(160) % 4
    return centres[y] + 0.7 * torch.randn(160, 3, generator=draw), y


DOMAINS = [domain(1), domain(2)]


def kept(plugin: Any = None, template: type = StockNaive, **settings: Any) -> tuple[float, float]:
    """Accuracy on the first and on the last domain, after both."""
    with seeded(0, "network"):
        model = nn.Sequential(nn.Linear(3, 32), nn.ReLU(), nn.Linear(32, 4))
    learner: Any = template(
        model=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.05),
        criterion=nn.CrossEntropyLoss(),
        train_mb_size=16,
        train_epochs=8,
        plugins=[] if plugin is None else [plugin],
        evaluator=EvaluationPlugin,
        **settings,
    )
    stream = tensors_benchmark(
        train_tensors=DOMAINS, test_tensors=DOMAINS, task_labels=[0, 0], complete_test_set_only=False
    ).train_stream
    with seeded(0, "shuffling"):
        for experience in stream:
            learner.train(experience)
    first, last = (float((model(x).argmax(1) == y).float().mean()) for x, y in DOMAINS)
    return first, last


@pytest.fixture(scope="module")
def plain() -> float:
    first, last = kept()
    assert first < 0.4 and last > 0.9, "plain training forgets the first domain"
    return first


def test_mas_keeps_what_avalanches_own_keeps(plain: float) -> None:
    ours, theirs = kept(MAS(lam=0.3, batch_size=16).as_plugin()), kept(MASPlugin(lambda_reg=0.3))
    assert ours[0] > plain + 0.15 and theirs[0] > plain + 0.15
    assert ours == pytest.approx(theirs, abs=0.1), "one formula, up to how importance is summed"


def test_der_keeps_what_avalanches_own_keeps(plain: float) -> None:
    weights = {"alpha": 0.1, "beta": 0.5}
    ours = kept(DER(size=80, batch_size=16, **weights).as_plugin())
    theirs = kept(template=StockDER, mem_size=80, batch_size_mem=16, **weights)
    assert ours[0] > plain + 0.3 and theirs[0] > plain + 0.3
    assert min(ours[1], theirs[1]) > 0.8, "and learn the second"


def test_si_keeps_more_than_plain_training(plain: float) -> None:
    # Avalanche's own is no reference: its "old" weights are views of the new ones, and its path is zero.
    assert kept(SI(c=0.5, xi=1e-3).as_plugin())[0] > plain + 0.15
    stock = SynapticIntelligencePlugin(si_lambda=1000, eps=1e-3)
    kept(stock)
    assert not any(bool(path.data.any()) for path in stock.syn_data["trajectory"].values())
