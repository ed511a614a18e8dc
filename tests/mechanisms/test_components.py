"""The leading part of a batch: against an SVD in float64, with gradients by differences."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from clplat.mechanisms.components import leading_part


def rows(count: int, width: int) -> torch.Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(0)).double()


@pytest.mark.parametrize(("count", "width", "kept"), [(7, 4, 2), (4, 7, 2), (5, 9, 4), (6, 3, 3)])
def test_it_is_the_reconstruction_of_an_svd(count: int, width: int, kept: int) -> None:
    x = rows(count, width)
    mean = x.numpy().mean(axis=0)
    _, _, right = np.linalg.svd(x.numpy() - mean, full_matrices=False)
    expected = (x.numpy() - mean) @ right[:kept].T @ right[:kept] + mean
    np.testing.assert_allclose(leading_part(x, kept).numpy(), expected, atol=1e-9)
    if kept >= min(count - 1, width):
        torch.testing.assert_close(leading_part(x, kept), x)


@pytest.mark.parametrize(("count", "width", "kept"), [(6, 4, 2), (4, 6, 2), (5, 3, 3)])
def test_its_gradient_goes_through_the_components(count: int, width: int, kept: int) -> None:
    x = rows(count, width).requires_grad_()
    assert torch.autograd.gradcheck(lambda t: leading_part(t, kept), (x,), atol=1e-6)


def test_equal_components_and_small_batches_have_finite_gradients() -> None:
    """Two equal components, and two that are zero: the gradient of an eigenvector is infinite there."""
    square = torch.tensor([[1.0, 0], [-1, 0], [0, 1], [0, -1]], dtype=torch.float64, requires_grad=True)
    found = leading_part(square, 2)
    found.square().sum().backward()  # type: ignore[no-untyped-call]
    assert square.grad is not None and bool(square.grad.isfinite().all())
    few = rows(3, 8).requires_grad_()
    assert leading_part(few, 32) is few, "as many components as rows: nothing is lost"
