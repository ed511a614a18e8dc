"""What every loss must do."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import normalize

from clplat.randomness import generator
from clplat.testing.checks import generator_untouched
from clplat.testing.part import PlainPartContract

__all__ = ["LossContract"]


class LossContract(PlainPartContract[Callable[..., Tensor]]):
    """Contract tests of a loss: subclass, override `make`, and pytest runs them all.

    A loss of similarities says so: ``takes = "similarities"``. One of anything else overrides `call`.

    Example:
        >>> from clplat.parts.losses.info_nce import InfoNCE
        >>> class TestInfoNCE(LossContract):
        ...     def make(self) -> InfoNCE:
        ...         return InfoNCE(temperature=0.1)
    """

    #: Rows of the batch.
    rows: ClassVar[int] = 8

    def call(self, loss: Callable[..., Tensor], query: Tensor, candidates: Tensor) -> Tensor:
        """The loss of a batch in which candidate i answers query i.

        Called as the trainer calls it, or with a teacher that knows the answers.
        """
        rows = len(query)
        if getattr(loss, "takes", "embeddings") == "similarities":
            return loss(student=query @ candidates.T, teacher=torch.eye(rows))
        return loss(
            query,
            candidates,
            scale=torch.tensor(10.0),
            positive=torch.eye(rows, dtype=torch.bool),
            valid=torch.ones(rows, rows, dtype=torch.bool),
            weights=torch.ones(rows),
        )

    def _batch(self, noise: float = 1.0) -> tuple[Tensor, Tensor]:
        """Queries and candidates; without noise every query is its candidate."""
        draw = generator(0, "contract", "loss")
        candidates, other = normalize(torch.randn(2, self.rows, 16, generator=draw), dim=-1)
        query = normalize((1 - noise) * candidates + noise * other, dim=-1)
        return query.requires_grad_(), candidates.requires_grad_()

    # -- the contract -------------------------------------------------------------------------------------

    def test_it_is_a_finite_scalar(self) -> None:
        for noise in (0.0, 0.5, 1.0):
            value = self.call(self.make(), *self._batch(noise))
            assert value.shape == () and bool(value.isfinite()), f"the loss is {value}"

    def test_it_has_finite_gradients(self) -> None:
        query, candidates = self._batch()
        self.call(self.make(), query, candidates).backward()  # type: ignore[no-untyped-call]
        for name, part in (("query", query), ("candidates", candidates)):
            assert part.grad is not None and bool(part.grad.any()), f"no gradient reaches the {name}"
            assert bool(part.grad.isfinite().all())

    def test_the_order_of_the_batch_does_not_matter(self) -> None:
        query, candidates = self._batch()
        order = torch.randperm(self.rows, generator=generator(1, "contract", "order"))
        whole = self.call(self.make(), query, candidates)
        assert torch.allclose(self.call(self.make(), query[order], candidates[order]), whole, atol=1e-5)

    def test_right_answers_cost_less_than_random_ones(self) -> None:
        right, half, random = (
            float(self.call(self.make(), *self._batch(n)).detach()) for n in (0.0, 0.5, 1.0)
        )
        assert right < half < random, f"aligned {right:.4f}, half aligned {half:.4f}, random {random:.4f}"

    def test_its_gradient_points_downhill(self) -> None:
        query, candidates = self._batch()
        value = self.call(self.make(), query, candidates)
        (slope,) = torch.autograd.grad(value, query)
        step = 1e-3 * slope / slope.norm()
        below = self.call(self.make(), (query - step).detach(), candidates)
        assert float(below.detach()) < float(value.detach())

    def test_it_repeats_and_leaves_its_input_and_the_generator_alone(self) -> None:
        query, candidates = self._batch()
        before = query.detach().clone(), candidates.detach().clone()
        loss = self.make()
        with generator_untouched("it changes torch's global generator"):
            assert torch.equal(self.call(loss, query, candidates), self.call(loss, query, candidates))
        assert torch.equal(query, before[0]) and torch.equal(candidates, before[1]), "it changes its input"
