"""Gradients and steps without the directions in which earlier domains would lose.

A cone: no step may climb the loss on stored examples (A-GEM, GEM). A subspace: no step may move the weights
along directions that are kept (GPM, OGD).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor, nn

from clplat.extras import named_extras
from clplat.mechanisms.example_gradients import trained

__all__ = [
    "FreeSteps",
    "cone_weights",
    "free_directions",
    "into_cone",
    "leading_directions",
    "new_directions",
    "task_gradient",
]

#: Changes of weights in place: of all that are trained, by name.
Project: TypeAlias = Callable[[dict[str, Tensor]], None]


class Learns(Protocol):
    """What a gradient on stored examples asks of the loop."""

    @property
    def model(self) -> nn.Module: ...

    def predict(self, batch: Any) -> Any: ...

    def task_loss(self, batch: Any, outputs: Any) -> Tensor: ...

    def averaged(self, tensors: Sequence[Tensor]) -> list[Tensor]: ...


def task_gradient(learner: Learns, batches: Sequence[Any], weights: Sequence[nn.Parameter]) -> list[Tensor]:
    """The gradient of the mean task loss of some batches; what the weights hold as theirs stays."""
    loss = torch.stack([learner.task_loss(batch, learner.predict(batch)) for batch in batches]).mean()
    # Each process has drawn from a memory of its own.
    return learner.averaged(torch.autograd.grad(loss, [*weights], materialize_grads=True))


@torch.no_grad()
def into_cone(
    gradient: Sequence[Tensor], references: Sequence[Sequence[Tensor]], margin: float = 0.0
) -> None:
    """Move a gradient, in place, to the nearest one that points against none of the references.

    ``g <- g + sum_k v_k g_k``, with v of `cone_weights`. All are lists over the same weights.
    """
    stacked = [torch.stack([each.flatten() for each in parts]) for parts in zip(*references, strict=True)]
    gram = torch.stack([rows @ rows.T for rows in stacked]).sum(0)
    dots = torch.stack([rows @ g.flatten() for rows, g in zip(stacked, gradient, strict=True)]).sum(0)
    weights = cone_weights(gram, dots, margin)
    for g, rows in zip(gradient, stacked, strict=True):
        g.add_((weights.to(rows.dtype) @ rows).view_as(g))


def cone_weights(gram: Tensor, dots: Tensor, margin: float = 0.0) -> Tensor:
    """How much of each reference makes a gradient agree with all of them.

    The solution of ``min_v v^T gram v / 2 + dots^T v`` for ``v >= margin``, the dual of the nearest vector
    whose product with no reference is negative; zeros where none is. Of one reference a formula; of several
    non-negative least squares (scipy).

    Args:
        gram: (K, K), products of the references.
        dots: (K,), their products with the gradient.
        margin: more than 0 goes beyond the border of the cone, in favour of what is stored.

    References:
        Lopez-Paz & Ranzato 2017, Gradient Episodic Memory for Continual Learning, arXiv 1706.08840; of one
        reference: Chaudhry et al. 2019, Efficient Lifelong Learning with A-GEM, arXiv 1812.00420.

    Example:
        >>> cone_weights(torch.tensor([[4.0]]), torch.tensor([-2.0]))
        tensor([0.5000])
    """
    if len(dots) == 1:
        needed = (-dots / gram[0].clamp_min(1e-20)).clamp_min(margin)
        return torch.where(dots < 0, needed, torch.zeros_like(dots))
    if not bool((dots < 0).any()):
        return torch.zeros_like(dots)
    with named_extras("a projection on several gradients"):
        from scipy.optimize import nnls
    wide, slope = gram.double().cpu(), dots.double().cpu()
    # References that are parallel, or zero, leave the solution open: the smallest one is taken.
    factor = torch.linalg.cholesky(wide + 1e-9 * wide.trace().clamp_min(1e-30) * torch.eye(len(wide)))
    slope = slope + margin * wide.sum(1)
    goal = -torch.linalg.solve_triangular(factor, slope[:, None], upper=False)[:, 0]
    found, _ = nnls(factor.T.numpy(), goal.numpy())
    return (torch.from_numpy(found) + margin).to(dots)


class ConeSteps:
    """Keeps the steps of an optimizer from pointing against the gradients of stored examples.

    Gradients are moved into the cone before a step, and what it moved after it: with rates for each weight
    (Adam) up to half of the steps point against references with which their gradients agree.

    Args:
        margin: of the gradients, see `cone_weights`.
    """

    def __init__(self, margin: float = 0.0) -> None:
        self.margin = margin
        self._references: Sequence[Sequence[Tensor]] = ()
        self._before: list[tuple[nn.Parameter, Tensor]] = []

    @torch.no_grad()
    def before_step(self, weights: Sequence[nn.Parameter], references: Sequence[Sequence[Tensor]]) -> None:
        """Move the gradients, and note weights and references."""
        into_cone([p.grad for p in weights if p.grad is not None], references, self.margin)
        self._references, self._before = references, [(p, p.detach().clone()) for p in weights]

    @torch.no_grad()
    def after_step(self) -> None:
        """Move what the step has moved."""
        if self._before:
            descent = [before - p for p, before in self._before]
            into_cone(descent, self._references)
            for (p, before), change in zip(self._before, descent, strict=True):
                p.copy_(before - change)
        self._references, self._before = (), []


class FreeSteps:
    """Keeps every step of an optimizer in what a projection leaves of it.

    Gradients are projected before a step and the movement of the weights after it: momentum, rates for each
    weight (Adam) and weight decay leave the subspace that the gradients are in.

    Args:
        project: changes of weights in place, linearly.
    """

    def __init__(self, project: Project) -> None:
        self.project = project
        self._before: dict[str, Tensor] = {}

    @torch.no_grad()
    def before_step(self, model: nn.Module) -> None:
        """Project the gradients and note the weights."""
        weights = trained(model)
        self.project({name: p.grad for name, p in weights.items() if p.grad is not None})
        self._before = {name: p.detach().clone() for name, p in weights.items()}

    @torch.no_grad()
    def after_step(self, model: nn.Module) -> None:
        """Project what the step has moved."""
        weights, before = trained(model), self._before
        moved = {name: weights[name].detach() - old for name, old in before.items() if name in weights}
        self.project(moved)
        for name, change in moved.items():
            weights[name].copy_(before[name] + change)
        self._before = {}


def leading_directions(covariance: Tensor, basis: Tensor | None, share: float) -> Tensor:
    """The basis, and the fewest directions beside it with which it holds a share of what vectors are made of.

    Args:
        covariance: (D, D), the sum of ``x x^T`` of the vectors.
        basis: (D, R), orthonormal columns of earlier vectors; none at first.
        share: of the sum of the vectors' squared lengths.

    Returns:
        (D, R + new), orthonormal columns, in the covariance's precision.

    References:
        Saha et al. 2021, Gradient Projection Memory for Continual Learning, arXiv 2103.09762.
    """
    whole = covariance.double()
    inside = whole.new_zeros(())
    left = whole
    if basis is not None:
        held = basis.double()
        inside = (held * (whole @ held)).sum()
        left = whole - held @ (held.T @ whole)
        left = left - (left @ held) @ held.T
    values, vectors = torch.linalg.eigh((left + left.T) / 2)
    values, vectors = values.flip(0).clamp_min(0), vectors.flip(1)
    before = inside + values.cumsum(0) - values  # what is held without this direction
    needed = (before < share * whole.trace()) & (values > 1e-10 * whole.trace())
    new = vectors[:, needed].to(covariance.dtype)
    return new if basis is None else torch.cat([basis, new], dim=1)


def free_directions(covariance: Tensor, basis: Tensor | None, most: int) -> Tensor:
    """Orthonormal columns (D, K) for what lies outside a basis: the leading ones of ``(I - M M^T) C``.

    Args:
        covariance: C (D, D), the sum of ``x x^T`` of the vectors.
        basis: M (D, R), orthonormal columns; none at first.
        most: columns at most; there are fewer where the vectors span fewer directions outside the basis.

    Returns:
        In double precision.

    References:
        Liang and Li 2024, InfLoRA, arXiv 2404.00228.

    Example:
        >>> free_directions(torch.diag(torch.tensor([3.0, 2.0, 1.0])), torch.eye(3)[:, :1], 1).abs()
        tensor([[0.],
                [1.],
                [0.]], dtype=torch.float64)
    """
    left = covariance.double()
    if basis is not None:
        held = basis.double()
        left = left - held @ (held.T @ left)
    vectors, values, _ = torch.linalg.svd(left, full_matrices=False)
    found = vectors[:, values > 1e-10 * covariance.double().trace()][:, :most]
    if basis is not None:  # small values leave digits within the basis
        found, _ = torch.linalg.qr(found - held @ (held.T @ found))
    leading: Tensor = found
    return leading


def new_directions(rows: Tensor, basis: Tensor | None, most: int | None = None) -> Tensor:
    """Orthonormal rows (K, D) for what vectors add to a basis, those with most of it first.

    Args:
        rows: (N, D), fewer than D.
        basis: (R, D), orthonormal rows; none at first.
        most: rows at most.
    """
    left = rows.double()
    for _ in range(2 if basis is not None else 0):  # once leaves digits where little is new
        assert basis is not None
        left = left - (left @ basis.double().T) @ basis.double()
    values, vectors = torch.linalg.eigh(left @ left.T)
    new = values.flip(0) > 1e-10 * rows.double().square().sum().clamp_min(1e-30)
    found = vectors.flip(1)[:, new].T @ left
    unit: Tensor = found / found.norm(dim=1, keepdim=True)
    return unit[:most].to(rows.dtype)
