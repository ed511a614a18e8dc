"""Strategies of clplat in a plain torch loop: two tasks, one after the other."""

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from clplat.parts import Learner
from clplat.strategies import EWC, Naive, Replay

CENTRES = 2.0 * torch.randn(2, 5, 5, generator=torch.Generator().manual_seed(0))  # tasks, classes, features


def examples(task, seed):
    draw = torch.Generator().manual_seed(seed)
    y = torch.randint(0, 5, (500,), generator=draw)
    return TensorDataset(CENTRES[task][y] + torch.randn(500, 5, generator=draw), y)


def train_on_both(strategy):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 64), nn.ReLU(), nn.Linear(64, 5))
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    learner = Learner(model, optimizer, lambda b: model(b[0]), lambda b, out: cross_entropy(out, b[1]))
    for task in range(2):
        with strategy.experience(learner, examples(task, seed=task)) as experience:
            for x, y in 10 * [*DataLoader(experience.dataset, batch_size=50)]:
                outputs = model(x)
                loss = cross_entropy(outputs, y) + experience.loss((x, y), outputs)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
    tests = [examples(task, seed=10 + task)[:] for task in range(2)]
    return [100 * (model(x).argmax(1) == y).float().mean().item() for x, y in tests]


for strategy in (Naive(), EWC(lam=2.0), Replay(size=100)):
    first, second = train_on_both(strategy)
    print(f"{type(strategy).__name__:6}  task 1: {first:5.1f} %  task 2: {second:5.1f} %")
