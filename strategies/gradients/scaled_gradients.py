"""Scaled gradients: what comes late moves the weights by its share of all that was seen, and no more."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from clplat.config.space import Choice
from clplat.errors import UserError
from clplat.models.names import named_parameters
from clplat.training.strategy import Strategy, SupportsLearning

__all__ = ["ScaledGradients"]


class ScaledGradients(Strategy):
    """Multiplies the gradient by ``lambda = n_new / n_seen``, in every experience after the first.

    n_new counts what the experience brings, n_seen that and all before it. The gradient is scaled when it is
    complete and before the optimizer takes it. An optimizer that divides by the gradient's size (Adam, AdamW)
    makes the same steps with a scaled one, so that by default the movement of each step is scaled, weight
    decay included: for plain SGD that is the same. Nothing is stored but counts.

    Args:
        of: scale the ``step``, with any optimizer, or the ``gradient``, with SGD.
        by: count ``examples``, ``labels`` (each once, when it is first seen), or ``domains``.
        tensors: a regular expression; only tensors in whose names it is found are scaled, such as ``prompt``.

    Raises:
        ValueError: another ``of`` or ``by``, or an expression that is none.

    References:
        D'Alessandro et al. 2023 (CPE-CLIP), Multimodal Parameter-Efficient Few-Shot Class Incremental
        Learning, ICCV workshops, arXiv 2303.04751, which scales the gradients of prompts by classes.

    Numbers:
        ``share``, the lambda of the experience.

    Relations:
        `LayerDecay` scales by depth, `OGD` and `GPM` take directions out.

    Example:
        >>> ScaledGradients(by="domains").of
        'step'
    """

    state = ("_seen", "_labels", "_share")

    def __init__(
        self,
        of: Literal["step", "gradient"] = "step",
        by: Annotated[
            Literal["examples", "labels", "domains"], Choice("examples", "labels", "domains")
        ] = "examples",
        tensors: str = "",
    ) -> None:
        if of not in ("step", "gradient") or by not in ("examples", "labels", "domains"):
            raise ValueError(f"of is step or gradient, by is examples, labels or domains, not {of} and {by}")
        try:
            re.compile(tensors)
        except re.error as error:
            raise ValueError(f"tensors is '{tensors}', which is no regular expression: {error}") from error
        self.of, self.by, self.tensors = of, by, tensors
        self._seen = 0
        self._labels: list[str] = []
        self._share = 1.0
        self._before: dict[str, Tensor] = {}

    def before_experience(self, learner: SupportsLearning, experience: Any) -> None:
        new = self._count(experience)
        self._seen += new
        self._share = new / max(self._seen, 1)

    def _count(self, experience: Any) -> int:
        if self.by == "domains":
            return 1
        data = getattr(experience, "dataset", None)
        if data is None:
            raise UserError(f"scaled_gradients counts {self.by}, and this experience has no data set")
        if self.by == "examples":
            return len(data)
        found = dict.fromkeys(str(_label(data[i])) for i in range(len(data)))
        new = [label for label in found if label not in {*self._labels}]
        self._labels += new
        return len(new)

    def numbers(self) -> dict[str, float]:
        return {"share": self._share} if self._seen else {}

    def after_backward(self, learner: SupportsLearning) -> None:
        if self._share == 1:
            return
        named = {name: p for name, p in named_parameters(learner.model) if p.grad is not None}
        chosen = {name: p for name, p in named.items() if p.requires_grad and re.search(self.tensors, name)}
        if self.of == "step":
            self._before = {name: p.detach().clone() for name, p in chosen.items()}
            return
        if isinstance(learner.optimizer, torch.optim.Adam):  # AdamW is one
            raise UserError(
                "scaled_gradients of the gradient needs sgd, Adam divides by its size: take of=step"
            )
        for parameter in chosen.values():
            assert parameter.grad is not None
            parameter.grad.mul_(self._share)

    @torch.no_grad()
    def after_step(self, learner: SupportsLearning, batch: Any, outputs: Any) -> None:
        named = dict(named_parameters(learner.model))
        for name, before in self._before.items():
            named[name].copy_(before.lerp(named[name], self._share))
        self._before = {}


def _label(example: Any) -> Any:
    """What an example is called: ours say so, of a classifier's ``(x, y, ...)`` it is the second."""
    return example.label if hasattr(example, "label") else example[1]
