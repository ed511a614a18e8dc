"""Every strategy with a head that grows, as Avalanche's: old rows are kept as ever, new ones are free."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from avalanche.benchmarks import tensors_benchmark
from avalanche.models import IncrementalClassifier
from avalanche.training import Naive as StockNaive
from avalanche.training.plugins import EvaluationPlugin
from torch import Tensor, nn

from clplat.progress import Progress
from clplat.randomness import generator, seeded
from clplat.registry import load, names
from clplat.training.learner import Learner
from clplat.training.strategy import Strategy
from strategies import DER, EWC, MAS, SI, Frozen, L2Anchor, Patch, TaskArithmetic

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Linear(4, 16), nn.ReLU())
        self.head = IncrementalClassifier(16, 2, masking=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))  # type: ignore[no-any-return]


def trained(strategy: Strategy) -> tuple[nn.Module, list[dict[str, Tensor]]]:
    """The network after three experiences of two classes, and its weights after each."""
    y = torch.arange(120) % 6
    draw = generator(0, "heads")
    x = 3 * torch.randn(6, 4, generator=draw)[y] + torch.randn(120, 4, generator=draw)
    parts = [(x[y // 2 == number], y[y // 2 == number]) for number in range(3)]
    stream = tensors_benchmark(
        train_tensors=parts, test_tensors=parts, task_labels=[0] * 3, complete_test_set_only=False
    ).train_stream
    with seeded(0, "network"):
        model = Network()
    template = StockNaive(
        model=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9),
        criterion=nn.CrossEntropyLoss(),
        train_mb_size=20,
        train_epochs=3,
        plugins=[strategy.as_plugin()],
        evaluator=EvaluationPlugin,
    )
    ends = []
    with seeded(0, "shuffling"):
        for experience in stream:
            template.train(experience)
            ends.append({name: p.detach().clone() for name, p in model.named_parameters()})
    return model, ends


#: Of any module and logits: what compares embeddings has no head.
CLASSIFIERS = [
    name
    for name in names("strategies")
    if load("strategies", name).any_module and not load("strategies", name).needs_embeddings
]


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_it_trains_a_head_that_grows(name: str) -> None:
    strategy: Any = load("strategies", name)()
    model, ends = trained(strategy)
    head = "head.classifier.weight"
    assert [end[head].shape for end in ends] == [(2, 16), (4, 16), (6, 16)]
    assert all(bool(p.isfinite().all()) for p in model.parameters())


@pytest.mark.parametrize(
    "strategy", [EWC(lam=1e9), MAS(lam=1e9), L2Anchor(lam=1e9), SI(c=1e9)], ids=lambda s: type(s).__name__
)
def test_old_rows_are_held_and_new_ones_are_free(strategy: Strategy) -> None:
    _, (_, second, third) = trained(strategy)
    head = "head.classifier.weight"
    moved = (third[head][:4] - second[head]).abs()
    if isinstance(strategy, SI):  # what did not help has no importance
        moved = moved[strategy.anchor.importance[head][:4] > 1e-3]
    assert float(moved.max()) < 0.02
    _, (_, _, frozen) = trained(Frozen())
    assert float((third[head][4:] - frozen[head][4:]).abs().max()) > 0.1


def test_patch_mixes_old_rows_and_leaves_new_ones() -> None:
    _, (first, second, _) = trained(Patch(alpha=0.0))
    head = "head.classifier.weight"
    assert torch.equal(second[head][:2], first[head]) and torch.equal(
        second["features.0.bias"], first["features.0.bias"]
    )
    _, (_, frozen, _) = trained(Frozen())
    assert float((second[head][2:] - frozen[head][2:]).abs().max()) > 0.1, (
        "of a new row there is nothing to mix"
    )


def test_task_vectors_of_a_grown_head_are_from_where_its_rows_began() -> None:
    _, (_, all_of_it, _) = trained(TaskArithmetic(weight=1.0))
    _, (_, half, _) = trained(TaskArithmetic(weight=0.5))
    _, (_, none, _) = trained(TaskArithmetic(weight=0.0))
    for name, tensor in half.items():
        assert torch.allclose(tensor, (all_of_it[name] + none[name]) / 2, atol=1e-5), name


def test_what_a_head_said_before_it_grew_is_compared_where_it_said_something() -> None:
    model = nn.Linear(1, 3)
    learner = Learner(
        model, torch.optim.SGD(model.parameters(), lr=0.1), predict_fn=lambda batch: model(batch[0])
    )
    learner.loss_fn = lambda batch, outputs: F.cross_entropy(outputs, batch[1])
    strategy, x = DER(size=8, batch_size=8, alpha=2.0), torch.ones(4, 1)
    narrow, wide = torch.zeros(4, 2), torch.ones(4, 3)
    for number, then in enumerate((narrow, wide)):
        learner.progress = Progress(number)
        strategy.after_step(learner, (x, torch.zeros(4, dtype=torch.long)), then)
    now = model(x)
    found = strategy.loss(learner, None, now)["dark"]
    apart = ((now[:, :2] - narrow) ** 2).sum(1) + ((now - wide) ** 2).sum(1)
    assert float(found.detach()) == pytest.approx(2.0 * float(apart.detach().mean()) / 2, rel=1e-5)
    found.backward()
    assert bool(model.weight.grad.isfinite().all())  # type: ignore[union-attr]
