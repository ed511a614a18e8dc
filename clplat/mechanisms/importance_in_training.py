"""How much each weight matters, measured by the steps of training alone: squared gradients, and the path."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from clplat.mechanisms.example_gradients import trained
from clplat.mechanisms.importance import Importance
from clplat.mechanisms.weight_space import padded
from clplat.models.names import named_parameters

__all__ = ["PathIntegral", "RunningFisher"]


class RunningFisher:
    """A running mean of the squared gradients of training steps (EWC++): no pass over the data is needed.

    The gradients are those of batches: where a batch's examples agree their squares are larger than those of
    single examples, where they do not they are smaller.

    Args:
        decay: of the mean.

    References:
        Chaudhry et al. 2018, Riemannian Walk for Incremental Learning, arXiv 1801.10112.
    """

    def __init__(self, decay: float) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"decay must be in [0, 1), not {decay}")
        self.decay = decay
        self.mean: Importance = {}

    @torch.no_grad()
    def observe(self, model: nn.Module) -> None:
        """Take in the gradients that the weights have now."""
        self.take({name: p.grad for name, p in trained(model).items() if p.grad is not None})

    @torch.no_grad()
    def take(self, gradients: Mapping[str, Tensor]) -> None:
        """Take in gradients by the names of their weights."""
        for name, gradient in gradients.items():
            known = name in self.mean
            mean = padded(self.mean[name], gradient.shape) if known else torch.zeros_like(gradient)
            mean.mul_(self.decay).addcmul_(gradient, gradient, value=1 - self.decay)
            self.mean[name] = mean

    def state_dict(self) -> dict[str, Any]:
        return self.mean

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.mean = state


class PathIntegral:
    """What each weight's own movement took off the loss: ``-g_i dtheta_i``, summed over steps.

    Call `before_step` when the gradients are those of the task, and `after_step` when the weights have moved.

    References:
        Zenke et al. 2017, Continual Learning Through Synaptic Intelligence, arXiv 1703.04200.
    """

    def __init__(self) -> None:
        self.path: Importance = {}
        self._start: dict[str, Tensor] = {}
        self._before: dict[str, tuple[Tensor, Tensor]] = {}

    @torch.no_grad()
    def before_step(self, model: nn.Module) -> None:
        """Note weights and gradients."""
        # Copies: clipping writes to the gradients, the optimizer to the weights.
        self._before = {
            name: (parameter.detach().clone(), parameter.grad.clone())
            for name, parameter in trained(model).items()
            if parameter.grad is not None
        }
        for name, (weight, _) in self._before.items():
            self._start.setdefault(name, weight)

    @torch.no_grad()
    def after_step(self, model: nn.Module) -> None:
        """Add what the step took off."""
        named = dict(named_parameters(model))
        for name, (before, gradient) in self._before.items():
            path = self.path.setdefault(name, torch.zeros_like(before))
            path.sub_(gradient * (named[name] - before))
        self._before = {}

    @torch.no_grad()
    def moved(self, model: nn.Module) -> dict[str, Tensor]:
        """The squared distance of every weight to where the path began."""
        named = dict(named_parameters(model))
        return {name: (named[name] - start).square() for name, start in self._start.items()}

    def restart(self) -> None:
        """The path begins anew, at the weights of the next step."""
        self.path, self._start = {}, {}

    def state_dict(self) -> dict[str, Any]:
        return {"path": self.path, "start": self._start}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.path, self._start = state["path"], state["start"]
