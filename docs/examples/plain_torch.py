"""A strategy of clplat in a plain torch loop: two tasks, one after the other, with and without EWC."""

import torch
from torch import nn

from clplat.parts import Learner
from strategies import EWC, Naive

CENTRES = 2.0 * torch.randn(2, 5, 5, generator=torch.Generator().manual_seed(0))  # tasks, classes, features


def examples(task, seed):
    draw = torch.Generator().manual_seed(seed)
    y = torch.randint(0, 5, (500,), generator=draw)
    return CENTRES[task][y] + torch.randn(500, 5, generator=draw), y


def train_on_both(strategy):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 64), nn.ReLU(), nn.Linear(64, 5))
    learner = Learner(model, torch.optim.Adam(model.parameters(), lr=2e-3))
    for task in range(2):
        x, y = examples(task, seed=task)
        strategy.before_experience(learner, task)
        for rows in torch.arange(500).repeat(10).split(50):
            outputs = model(x[rows])
            loss = nn.functional.cross_entropy(outputs, y[rows])
            loss = loss + sum(strategy.loss(learner, (x[rows], y[rows]), outputs).values())
            learner.optimizer.zero_grad()
            loss.backward()
            strategy.after_backward(learner)
            learner.optimizer.step()
            strategy.after_step(learner, (x[rows], y[rows]), outputs)
        strategy.after_experience(learner, task)
    return [100 * (model(x).argmax(1) == y).float().mean().item() for x, y in map(examples, (0, 1), (10, 11))]


for strategy in (Naive(), EWC(lam=2.0)):
    first, second = train_on_both(strategy)
    print(f"{type(strategy).__name__:5}  task 1: {first:5.1f} %  task 2: {second:5.1f} %")
