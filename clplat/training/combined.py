"""Several strategies as one: ``--strategy ewc,replay``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from clplat.mechanisms.carried_gradient import carried
from clplat.mechanisms.parameter_groups import Group
from clplat.training.hooks import SupportsLearning
from clplat.training.phases import Phase
from clplat.training.strategy import Strategy

__all__ = ["Combined"]

_Stores = Literal["nothing", "statistics", "weights", "exemplars", "everything"]


class Combined(Strategy):
    """Several strategies at once: every hook of each, in their order.

    ``loss = task + sum of the terms of all``

    A strategy that measures the task's gradient (`Strategy.reads_gradient`) sees it without the terms of the
    others and before any of them changes it: replayed examples are no part of EWC's importance. That costs
    one more backward pass where another term is computed on the outputs of the same batch.

    Args:
        parts: the strategies. One at most may choose the training set, and one bring adapters.

    Example:
        >>> from strategies import EWC, Replay
        >>> Combined([EWC(lam=5.0), Replay(size=100)]).terms
        ('ewc', 'replay')
    """

    def __init__(self, parts: Sequence[Strategy]) -> None:
        self.parts = list(parts)
        _refuse(self.parts)
        # What the class says of one strategy, an object says of several.
        roles = {part.role for part in parts}
        order = get_args(_Stores)
        said: dict[str, Any] = {
            "role": roles.pop() if len(roles) == 1 else "method",
            "any_module": all(part.any_module for part in parts),
            "needs_embeddings": any(part.needs_embeddings for part in parts),
            "reads_gradient": any(part.reads_gradient for part in parts),
            "shares": all(part.shares for part in parts),
            "reads_data": any(part.reads_data for part in parts),
            "reads_reference": any(part.reads_reference for part in parts),
            "routes": any(part.routes for part in parts),
            "replaces_task_loss": any(part.replaces_task_loss for part in parts),
            "terms": tuple(dict.fromkeys(term for part in parts for term in part.terms)),
            "stores": max((part.stores for part in parts), key=order.index),
            "brings": tuple(dict.fromkeys(slot for part in parts for slot in part.brings)),
        }
        vars(self).update(said)
        self._pulls: list[dict[nn.Parameter, Tensor]] = []

    @property
    def grows(self) -> bool:
        return any(part.grows for part in self.parts)

    def before_experience(self, learner: SupportsLearning, experience: Any) -> None:
        for part in self.parts:
            part.before_experience(learner, experience)

    def training_set(self, experience: Any) -> Any:
        chosen = next((part for part in self.parts if _chooses_data(part)), None)
        return experience.dataset if chosen is None else chosen.training_set(experience)

    def phases(self, experience: Any) -> Sequence[Phase]:
        chosen = next((part for part in self.parts if _has_phases(part)), self.parts[0])
        return chosen.phases(experience)

    def groups(self, names: Sequence[str]) -> Sequence[Group]:
        return [group for part in self.parts for group in part.groups(names)]

    def before_epoch(self, learner: SupportsLearning) -> None:
        for part in self.parts:
            part.before_epoch(learner)

    def loss(self, learner: SupportsLearning, batch: Any, outputs: Any) -> dict[str, Tensor]:
        self._pulls = []
        found: dict[str, Tensor] = {}
        for part in self.parts:
            terms = part.loss(learner, batch, outputs)
            read = any(other.reads_gradient for other in self.parts if other is not part)
            terms, pull = _taken(learner.model, terms) if terms and read else (terms, {})
            self._pulls.append(pull)
            for name, term in terms.items():
                found[name] = found[name] + term if name in found else term
        return found

    def after_backward(self, learner: SupportsLearning) -> None:
        for part in sorted(self.parts, key=lambda part: not part.reads_gradient):
            pulls = [pull for other, pull in zip(self.parts, self._pulls, strict=False) if other is not part]
            with _without(pulls if part.reads_gradient else []):
                part.after_backward(learner)

    def after_step(self, learner: SupportsLearning, batch: Any, outputs: Any) -> None:
        self._pulls = []
        for part in self.parts:
            part.after_step(learner, batch, outputs)

    def after_experience(self, learner: SupportsLearning, experience: Any) -> None:
        for part in self.parts:
            part.after_experience(learner, experience)

    def state_dict(self) -> dict[str, Any]:
        return {str(place): part.state_dict() for place, part in enumerate(self.parts)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for place, part in enumerate(self.parts):
            part.load_state_dict(state[str(place)])

    def rebuild(self, learner: SupportsLearning) -> None:
        for part in self.parts:
            part.rebuild(learner)

    def memory_bytes(self) -> int:
        return sum(part.memory_bytes() for part in self.parts)

    def state_bytes(self) -> int:
        return sum(part.state_bytes() for part in self.parts)

    def numbers(self) -> dict[str, float]:
        """Those of all parts; a name that two of them have is preceded by the class of the later one."""
        found: dict[str, float] = {}
        for part in self.parts:
            found |= {f"{type(part).__name__}.{n}" if n in found else n: x for n, x in part.numbers().items()}
        return found


def _refuse(parts: Sequence[Strategy]) -> None:
    """Refuse what cannot go together, in one line."""
    both = {
        "never trains: it runs alone": [part for part in parts if not part.trains and len(parts) > 1],
        "choose the data of an experience: one of them can": [part for part in parts if _chooses_data(part)],
        "have phases of their own: one of them can": [part for part in parts if _has_phases(part)],
        "bring adapters of their own: one of them can": [part for part in parts if part.brings],
    }
    for words, found in both.items():
        if len(found) > (1 if "one of them" in words else 0):
            names = " and ".join(type(part).__name__ for part in found)
            raise ValueError(f"{names} {words}")


def _chooses_data(part: Strategy) -> bool:
    return type(part).training_set is not Strategy.training_set


def _has_phases(part: Strategy) -> bool:
    return type(part).phases is not Strategy.phases


def _taken(
    model: nn.Module, terms: dict[str, Tensor]
) -> tuple[dict[str, Tensor], dict[nn.Parameter, Tensor]]:
    """Terms of the same values and gradient, and that gradient: it is computed here, once."""
    total = torch.stack(list(terms.values())).sum()
    if not total.requires_grad:
        return terms, {}
    trained = [p for p in model.parameters() if p.requires_grad]
    found = torch.autograd.grad(total, trained, retain_graph=True, allow_unused=True)
    pull = {p: g for p, g in zip(trained, found, strict=True) if g is not None}
    values = {name: term.detach() for name, term in terms.items()}
    first = next(iter(values))  # one of them carries the gradient of all
    return {**values, first: carried(values[first], pull)}, pull


@contextmanager
def _without(pulls: Sequence[dict[nn.Parameter, Tensor]]) -> Iterator[None]:
    """Inside, gradients are without these parts of them."""
    kept = {p: p.grad for pull in pulls for p in pull}
    for pull in pulls:
        for parameter, gradient in pull.items():
            if parameter.grad is not None:
                parameter.grad = parameter.grad - gradient
    try:
        yield
    finally:
        for parameter, whole in kept.items():
            parameter.grad = whole
