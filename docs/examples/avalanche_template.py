"""Strategies of clplat as plugins of Avalanche's own template, on one of Avalanche's own benchmarks."""

import warnings

import torch
from avalanche.benchmarks import tensors_benchmark
from avalanche.evaluation.metrics import accuracy_metrics
from avalanche.training import Naive
from avalanche.training.plugins import EvaluationPlugin
from torch import nn

from strategies import EWC, Replay

warnings.simplefilter("ignore")  # Avalanche warns that no logger is there

CENTRES = 2.0 * torch.randn(2, 5, 5, generator=torch.Generator().manual_seed(0))  # tasks, classes, features


def examples(task, seed):
    draw = torch.Generator().manual_seed(seed)
    y = torch.randint(0, 5, (500,), generator=draw)
    return CENTRES[task][y] + torch.randn(500, 5, generator=draw), y


benchmark = tensors_benchmark(
    train_tensors=[examples(task, seed=task) for task in range(2)],
    test_tensors=[examples(task, seed=10 + task) for task in range(2)],
    task_labels=[0, 0],
    complete_test_set_only=False,
)
plugins = {"none": [], "EWC": [EWC(lam=2.0).as_plugin()], "Replay": [Replay(100).as_plugin()]}
for name in plugins:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 64), nn.ReLU(), nn.Linear(64, 5))
    template = Naive(
        model=model,
        optimizer=torch.optim.Adam(model.parameters(), lr=2e-3),
        criterion=nn.CrossEntropyLoss(),
        train_mb_size=50,
        train_epochs=10,
        plugins=plugins[name],
        evaluator=EvaluationPlugin(accuracy_metrics(experience=True)),
    )
    for experience in benchmark.train_stream:
        template.train(experience)
    scores = [100 * value for value in template.eval(benchmark.test_stream).values()]
    print(f"{name:6}  task 1: {scores[0]:5.1f} %  task 2: {scores[1]:5.1f} %")
