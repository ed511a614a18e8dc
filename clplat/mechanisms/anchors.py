"""A pull of the weights to where earlier domains left them, stronger where a weight mattered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, TypeAlias, get_args

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from clplat.errors import UserError
from clplat.mechanisms.anchor_forms import cosine, kept_within, sprung, turned
from clplat.mechanisms.examples import tensor_bytes
from clplat.mechanisms.step_size import step_sizes
from clplat.mechanisms.weight_space import leading, padded
from clplat.models.names import named_parameters

__all__ = ["Anchor", "Form"]

Form: TypeAlias = Literal["quadratic", "cosine", "ball"]


class Anchor:
    """Holds the trainable weights to earlier ones, in one of three forms; f is the importance of a weight.

    * ``quadratic``: ``strength / 2 * sum_i f_i (theta_i - anchor_i)^2``;
    * ``cosine``: ``strength * sum_t mean(f_t) (1 - cos(theta_t, anchor_t))`` over tensors, whose lengths are
      free;
    * ``ball``: no penalty, but of no tensor is ``sqrt(mean_i f_i (theta_i - anchor_i)^2)`` more than radius.

    Which weights mattered is the method's own: squared gradients (EWC), the path of training (SI), the
    sensitivity of outputs (MAS), or ones (L2). A head that grew is pulled in its old part only.

    The penalty is never differentiated: a weight for which ``lr * strength * importance`` is large would
    leave in ever larger steps. `pull` makes an implicit step instead, after that of the optimizer: exact for
    a quadratic, stable whatever the strength and the step size, and with the minima of the penalised loss.
    Gradients stay those of the task, also where they are clipped, scaled or accumulated.

    Args:
        strength: of the penalty.
        decay: how much of the earlier importance is kept when a new one is added.
        form: of the pull.
        radius: of the ball, in weights.

    References:
        Projected into a ball: Gouk et al. 2021, Distance-Based Regularisation of Deep Networks for
        Fine-Tuning, arXiv 2002.08253.

    Example:
        >>> layer = nn.Linear(1, 1, bias=False)
        >>> anchor = Anchor(strength=3.0)
        >>> anchor.consolidate(layer, {"weight": torch.tensor([[2.0]])})
        >>> layer.weight.data += 0.5
        >>> round(anchor.penalty(layer).item(), 4)  # 3 / 2 * 2 * 0.5^2
        0.75
    """

    def __init__(
        self, strength: float, decay: float = 1.0, form: Form = "quadratic", radius: float = 0.01
    ) -> None:
        if not (strength >= 0 and 0 <= decay <= 1 and radius >= 0):
            raise ValueError(
                "strength and radius must be at least 0 and decay in [0, 1], "
                f"not {strength}, {radius} and {decay}"
            )
        if form not in get_args(Form):
            raise ValueError(f"form must be one of {', '.join(get_args(Form))}, not '{form}'")
        self.strength, self.decay, self.form, self.radius = strength, decay, form, radius
        self.importance: dict[str, Tensor] = {}
        self.anchor: dict[str, Tensor] = {}
        self._asked = 0

    @torch.no_grad()
    def penalty(self, model: nn.Module) -> Tensor | None:
        """The penalty now, without a gradient; None before the first `consolidate`.

        Raises:
            UserError: it is not finite, or the weights that are held are those of another model. Only the CPU
                looks at every step; others would have to wait for it.
        """
        parts = [self._part(leading(p, a), f, a) for _, p, f, a in self._held(model)]
        if not parts:
            self._refuse_strangers(model)
            return None
        penalty = self.strength * torch.stack(parts).sum()
        self._asked += 1
        if (penalty.device.type == "cpu" or self._asked % 32 == 0) and not bool(penalty.isfinite()):
            names = [
                name for (name, *_), part in zip(self._held(model), parts, strict=True) if not part.isfinite()
            ]
            raise UserError(f"the penalty on the weights is {float(penalty)}: see {', '.join(names[:3])}")
        return penalty

    def _part(self, own: Tensor, f: Tensor, a: Tensor) -> Tensor:
        """What a tensor adds to a penalty of strength 1."""
        if self.form == "quadratic":
            return (f * (own - a) ** 2).sum() / 2
        return f.mean() * (1 - cosine(own, a)) if self.form == "cosine" else own.new_zeros(())

    @torch.no_grad()
    def pull(self, model: nn.Module, optimizer: Optimizer, beside: Sequence[Anchor] = ()) -> None:
        """After a step of the optimizer, move the weights to the minimum of the penalty and of its metric.

        ``theta <- anchor + (theta - anchor) / (1 + s * strength * importance)``, with s the optimizer's own
        step size (`step_sizes`): where both come to rest, the gradients of task and penalty cancel. Other
        forms: `clplat.mechanisms.anchor_forms`; a ball takes the weights back to its border.

        Args:
            model: whose weights are held.
            optimizer: that has stepped.
            beside: further quadratic anchors that pull in the same step.

        Reference:
            Parikh & Boyd, Proximal Algorithms, Foundations and Trends in Optimization 2014.
        """
        sizes = step_sizes(optimizer)
        others = [{name: (one, f, a) for name, _, f, a in one._held(model)} for one in beside]
        for name, parameter, f, a in self._held(model):
            if (size := sizes.get(parameter)) is None:
                continue
            own, step = leading(parameter, a), leading(size, a) if isinstance(size, Tensor) else size
            if self.form == "ball":
                kept_within(own, a, f, self.radius)
            elif self.form == "cosine":
                mean = step.mean() if isinstance(step, Tensor) else step
                turned(own, a, self.strength * f.mean() * mean)
            else:
                springs = [(self, f, a), *(held[name] for held in others if name in held)]
                sprung(parameter, _stiff(springs, size))

    @torch.no_grad()
    def consolidate(self, model: nn.Module, importance: Mapping[str, Tensor]) -> None:
        """After an experience: add up how much weights mattered, and hold them where they are now.

        Raises:
            UserError: an importance is not finite, because gradients were not.
        """
        named = dict(named_parameters(model))
        broken = [name for name, new in importance.items() if not bool(new.isfinite().all())]
        if broken:
            raise UserError(f"the importance of {', '.join(broken[:3])} is not finite: gradients overflowed")
        for name, new in importance.items():
            earlier = self.importance.get(name)
            self.importance[name] = new if earlier is None else self.decay * padded(earlier, new.shape) + new
        self.anchor |= {n: named[n].detach().clone() for n in self.importance if n in named}

    def bytes(self) -> int:
        """Bytes of what is held."""
        return tensor_bytes([self.importance, self.anchor])

    def state_dict(self) -> dict[str, Any]:
        return {"importance": self.importance, "anchor": self.anchor}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.importance, self.anchor = state["importance"], state["anchor"]

    def _refuse_strangers(self, model: nn.Module) -> None:
        """Names of another model would protect nothing, such as those with the prefix of a wrapper."""
        own = [name for name, _ in named_parameters(model)]
        if self.importance and own and self.importance.keys().isdisjoint(own):
            raise UserError(
                f"the weights that are held are those of another model: '{next(iter(self.importance))}', "
                f"where this one has '{own[0]}'; a prefix such as module. is of a wrapper"
            )

    def _held(self, model: nn.Module) -> list[tuple[str, nn.Parameter, Tensor, Tensor]]:
        """Name, weight, importance and anchor of what is pulled."""
        return [
            (name, p, self.importance[name], self.anchor[name])
            for name, p in named_parameters(model)
            if p.requires_grad and name in self.importance
        ]


def _stiff(
    springs: Sequence[tuple[Anchor, Tensor, Tensor]], size: Tensor | float
) -> Iterator[tuple[Tensor, Tensor]]:
    """Stiffness in a step of this size, and anchor, of each."""
    for anchor, f, a in springs:
        yield anchor.strength * f * (leading(size, a) if isinstance(size, Tensor) else size), a
