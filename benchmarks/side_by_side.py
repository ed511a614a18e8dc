"""A strategy of ours in a plain loop and one of Avalanche's in its template: same streams and settings."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import cache
from statistics import mean
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize
from torch.utils.data import DataLoader, TensorDataset

from clplat.models.outputs import Outputs
from clplat.randomness import seeded
from clplat.training.learner import Learner
from clplat.training.strategy import Strategy

__all__ = ["BATCH", "EPOCHS", "MOMENTUM", "RATE", "accuracy", "network", "ours", "stream", "theirs"]

BATCH, EPOCHS, RATE, MOMENTUM = 32, 3, 0.05, 0.9

Stream = list[tuple[TensorDataset, TensorDataset]]


@cache
def stream(name: str) -> Stream:
    """Training and test data of each experience."""
    from sklearn.datasets import load_digits

    x, y = (torch.as_tensor(column) for column in load_digits(return_X_y=True))
    draw = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    x, y, train = x[draw].float() / 16, y[draw], torch.arange(len(x)) < 1200
    classes = {"halves": 5, "classes": 2}[name]
    own = [y // classes == k for k in range(10 // classes)]
    label = y % 5 if name == "halves" else y
    return [
        (TensorDataset(x[m & train], label[m & train]), TensorDataset(x[m & ~train], label[m & ~train]))
        for m in own
    ]


def network(name: str, seed: int) -> tuple[Any, torch.optim.Optimizer]:
    with seeded(seed, "network"):
        model = nn.Sequential(nn.Linear(64, 100), nn.ReLU(), nn.Linear(100, 5 if name == "halves" else 10))
    return model, _optimizer(model)


def _optimizer(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=RATE, momentum=MOMENTUM)


class Cosines(nn.Module):
    """The same network as a classifier of cosines: an example has two embeddings, of x and of its class."""

    def __init__(self, *layers: Any) -> None:
        super().__init__()
        *below, last = layers
        self.below, self.classes = nn.Sequential(*below), nn.Parameter(last.weight.detach().clone())
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * normalize(self.below(x)) @ normalize(self.classes).T

    def embeddings(self, x: Tensor, y: Tensor) -> Outputs:
        """Candidates are the classes of the batch, then all."""
        rows = normalize(self.classes)
        return Outputs(normalize(self.below(x)), torch.cat([rows[y], rows]), self.scale)


def ours(
    make: Callable[[], Strategy],
    name: str,
    seed: int,
    fresh: bool = False,
    epochs: int = EPOCHS,
    cosines: bool = False,
    slow: float = 1.0,
    build: Callable[[str, int], tuple[Any, torch.optim.Optimizer]] = network,
) -> float:
    """Accuracy of our strategy after a plain loop.

    Args:
        make: the strategy.
        name: of the stream.
        seed: of weights and order.
        fresh: the optimizer forgets its momentum before each experience.
        epochs: of each experience.
        cosines: the network is a `Cosines`, for a strategy that needs embeddings.
        slow: factor of the rate below the last layer.
        build: (stream, seed) -> what is trained, with its optimizer, which knows no ``slow``.
    """
    model, optimizer = build(name, seed)
    if cosines:
        model = Cosines(*model.children())
        optimizer = _optimizer(model)
    if slow != 1.0 and build is network:
        optimizer.param_groups[0]["params"] = [*model[2].parameters()]
        optimizer.add_param_group({"params": [*model[0].parameters()], "lr": slow * RATE})

    def predict(batch: Sequence[Tensor]) -> Any:
        return model.embeddings(*batch) if isinstance(model, Cosines) else model(batch[0])

    def judge(batch: Sequence[Tensor], outputs: Any) -> Tensor:
        made = outputs if isinstance(outputs, Tensor) else outputs.scores(scale=outputs.scale)
        return cross_entropy(made if isinstance(outputs, Tensor) else made[:, len(made) :], batch[1])

    learner = Learner(model, optimizer, predict, judge)
    strategy = make()
    with seeded(seed, "shuffling"):
        for dataset, _ in stream(name):
            if fresh:
                optimizer.state.clear()
            with strategy.experience(learner, dataset) as experience:
                for _ in experience.epochs(epochs):
                    for batch in DataLoader(experience.dataset, BATCH, shuffle=True):
                        outputs = predict(batch)
                        loss = judge(batch, outputs) + experience.loss(batch, outputs)
                        optimizer.zero_grad()
                        loss.backward()  # type: ignore[no-untyped-call]
                        optimizer.step()
    return accuracy(model, name)


def theirs(make: Callable[..., Any], name: str, seed: int) -> float:
    """Accuracy of Avalanche's after its own training.

    Args:
        make: the arguments that all templates take -> a template, which may say with ``predicts`` what it
            makes of pictures, where that is not what its model puts out, and with ``online`` that every batch
            is an experience.
    """
    from avalanche.benchmarks import tensors_benchmark
    from avalanche.training.plugins import EvaluationPlugin

    model, optimizer = network(name, seed)
    template = make(
        model=model, optimizer=optimizer, criterion=nn.CrossEntropyLoss(), train_mb_size=BATCH,
        eval_mb_size=256, train_epochs=EPOCHS, evaluator=EvaluationPlugin,
    )  # fmt: skip
    random.seed(seed)  # of A-GEM's memory
    with seeded(seed, "shuffling"):
        tensors = [dataset.tensors for dataset, _ in stream(name)]
        if getattr(template, "online", False):
            tensors = [batch for own in tensors for batch in in_batches(own)]
        benchmark = tensors_benchmark(
            train_tensors=tensors, test_tensors=tensors, task_labels=[0] * len(tensors),
            complete_test_set_only=False,
        )  # fmt: skip
        # What iCaRL asks of it.
        count = len(stream(name))
        benchmark.n_classes_per_exp, benchmark.classes_order = [10 // count] * count, [*range(10)]
        for experience in benchmark.train_stream:
            template.train(experience)
    return accuracy(getattr(template, "predicts", template.model), name)


def in_batches(tensors: Sequence[Tensor]) -> list[tuple[Tensor, ...]]:
    """All examples once, shuffled."""
    draw = torch.randperm(len(tensors[0]))
    return [tuple(tensor[rows] for tensor in tensors) for rows in draw.split(BATCH)]


@torch.no_grad()
def accuracy(model: Any, name: str) -> float:
    """The mean over the experiences, in per cent."""
    if isinstance(model, nn.Module):
        model.eval()
    tests = [test.tensors for _, test in stream(name)]
    return 100 * mean(float((model(x).argmax(1) == y).float().mean()) for x, y in tests)
