"""A plain training loop around a strategy, and a module that is no retriever."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clplat.data.batch import Batch
from clplat.data.records import Domain
from clplat.models.outputs import Outputs
from clplat.randomness import seeded
from clplat.testing.references import TinyReference
from clplat.testing.tiny import CONTEXT, SIZE, tiny_collate, tiny_domains, tiny_loss
from clplat.training.learner import Learner
from clplat.training.strategy import Strategy

__all__ = ["Compiled", "Experience", "TinyTowers", "plain_loop", "plain_step", "tiny_learner"]


class TinyTowers(nn.Module):
    """Any module that is no retriever: linear pictures and texts, and one frozen layer.

    ``model(batch)`` gives ``query``, ``candidates`` and ``scale``, as `ComposedRetriever` does.
    """

    def __init__(self, seed: int = 0, width: int = 8) -> None:
        super().__init__()
        with seeded(seed, "tiny", "towers"):
            self.eye = nn.Linear(3 * SIZE * SIZE, 16).requires_grad_(False)
            self.picture: nn.Module = nn.Linear(16, width)
            self.text = nn.Linear(CONTEXT, width)

    def forward(self, batch: Batch) -> Outputs:
        reference, candidates = self._see(batch.reference), self._see(batch.candidates)
        words = self.text(batch.tokens.float() / 49408)
        return Outputs(F.normalize(reference + words, dim=-1), candidates, torch.tensor(10.0))

    def _see(self, pixels: Tensor) -> Tensor:
        return F.normalize(self.picture(torch.tanh(self.eye(pixels.flatten(1) / 255))), dim=-1)


class Compiled(nn.Module):
    """A part of a model inside a wrapper that renames it, as ``torch.compile(part)`` does."""

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self._orig_mod = part

    def forward(self, *given: Any) -> Any:
        return self._orig_mod(*given)


@dataclass
class Experience:
    """What a plain loop hands to a strategy: data, and the stream that it belongs to, as in Avalanche."""

    dataset: Sequence[Any]
    current_experience: int
    origin_stream: list[Experience]


def tiny_learner(model: nn.Module, lr: float = 0.1) -> Learner:
    """The learner of a plain loop around a module that takes batches of `tiny_domains`."""
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    learner = Learner(model, optimizer, predict_fn=model, loss_fn=tiny_loss, collate_fn=tiny_collate())
    learner.reference, learner.pretrained = TinyReference(), True
    return learner


def plain_step(strategy: Strategy, learner: Learner, batch: Batch) -> dict[str, float]:
    """One step of a plain loop: task loss plus the strategy's terms; returns them by name."""
    with seeded(0, "loop", learner.progress.step):  # dropout
        outputs = learner.model(batch)
    terms = {"task": tiny_loss(batch, outputs), **strategy.loss(learner, batch, outputs)}
    learner.optimizer.zero_grad()
    torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]
    strategy.after_backward(learner)
    learner.optimizer.step()
    learner.stepped()
    strategy.after_step(learner, batch, outputs)
    return {name: float(term.detach()) for name, term in terms.items()}


def plain_loop(
    strategy: Strategy,
    model: nn.Module,
    domains: Sequence[Domain] | None = None,
    steps: int = 4,
    lr: float = 0.1,
) -> list[dict[str, float]]:
    """Train a module on a stream in a plain loop; return the loss terms of each step."""
    learner, history = tiny_learner(model, lr), []
    stream: list[Experience] = []
    for i, domain in enumerate(domains or tiny_domains()):
        stream.append(Experience(domain.train, i, stream))
    for experience in stream:
        learner.begin(experience.current_experience, total=steps)
        with seeded(0, "loop", "grow", learner.progress.step):  # initial weights
            strategy.before_experience(learner, experience)
        held = {p for group in learner.optimizer.param_groups for p in group["params"]}
        grown = [p for p in model.parameters() if p.requires_grad and p not in held]
        if grown:
            learner.optimizer.add_param_group({"params": grown})
        learner.dataset = data = strategy.training_set(experience)
        strategy.before_epoch(learner)
        for step in range(steps if any(p.requires_grad for p in model.parameters()) else 0):
            batch = learner.collate([data[(8 * step + k) % len(data)] for k in range(8)])
            history.append(plain_step(strategy, learner, batch))
        strategy.after_experience(learner, experience)
    return history
