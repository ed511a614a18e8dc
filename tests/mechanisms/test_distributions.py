"""Generalised Gaussians by quadrature and by hand in float64, and the exponent that the public code lacks."""

from __future__ import annotations

import math

import torch
from torch.distributions import Laplace, Normal

from clplat.mechanisms.distributions import Distribution, SpreadNetwork, kl_to_standard
from clplat.randomness import seeded


def filled(value: float) -> torch.Tensor:
    return torch.full((1, 1), value).double()


def test_the_density_is_one_and_its_variance_is_what_it_says() -> None:
    """By the trapezoidal rule; a factor in place of the exponent would not integrate to one."""
    x = torch.linspace(-60, 60, 600001).double()[None]
    for scale, shape in ((0.7, 0.8), (1.3, 1.0), (0.5, 2.0), (2.0, 3.5)):
        found = Distribution(filled(0.3), filled(scale), filled(shape))
        density = (-found.nll(x)).exp()
        assert math.isclose(float(torch.trapezoid(density, x)), 1.0, abs_tol=1e-4)
        spread = float(torch.trapezoid(density * (x - 0.3) ** 2, x))
        assert math.isclose(spread, float(found.variance()), rel_tol=1e-3)


def test_laplace_and_gauss_are_two_of_them() -> None:
    mean, x = torch.randn(2, 3, 4).double()
    scale = torch.rand(3, 4).double() + 0.2
    ones = torch.ones_like(scale)
    assert torch.allclose(Distribution(mean, scale, ones).nll(x), -Laplace(mean, scale).log_prob(x))
    gauss = Normal(mean, scale / math.sqrt(2))
    assert torch.allclose(Distribution(mean, scale, 2 * ones).nll(x), -gauss.log_prob(x))
    plain = Distribution(mean, scale)
    assert torch.allclose(plain.nll(x), -Normal(mean, scale).log_prob(x))
    assert torch.allclose(plain.variance(), scale**2)


def test_the_residual_is_taken_to_the_power_of_the_shape() -> None:
    """The public code multiplies by it (the line with the power is a comment there)."""
    found = Distribution(filled(0.0), filled(0.5), filled(3.0))
    rest = float(found.nll(filled(1.0)) - found.nll(filled(0.0)))
    assert math.isclose(rest, (1.0 / 0.5) ** 3, abs_tol=1e-6) and not math.isclose(rest, 1.0 / 0.5 * 3)


def test_likelihoods_have_finite_gradients_where_the_mean_is_right() -> None:
    mean, scale, shape = (torch.full((1, 2), v, requires_grad=True) for v in (0.5, 1.0, 0.4))
    Distribution(mean, scale, shape).nll(torch.tensor([[0.5, 0.7]])).sum().backward()  # type: ignore[no-untyped-call]
    for part in (mean, scale, shape):
        assert part.grad is not None and bool(part.grad.isfinite().all())
    assert mean.grad is not None and mean.grad[0, 1] != 0


def test_samples_are_the_mean_without_noise_and_spread_by_it() -> None:
    found = Distribution(torch.randn(2, 3), torch.rand(2, 3) + 0.1)
    made = found.samples(torch.stack([torch.zeros(3), torch.ones(3)]))
    assert torch.equal(made[:, 0], found.mean) and torch.allclose(made[:, 1], found.mean + found.scale)


def test_kl_by_hand() -> None:
    found = Distribution(torch.randn(2, 3).double(), torch.rand(2, 3).double() + 0.5)
    expected = torch.distributions.kl_divergence(
        Normal(found.mean, found.scale), Normal(torch.zeros(2, 3).double(), torch.ones(2, 3).double())
    ).sum(1)
    assert torch.allclose(kl_to_standard(found), expected)


def test_the_network_begins_at_its_embedding() -> None:
    with seeded(0, "test"):
        network = SpreadNetwork(5, hidden=7).eval()
    x = torch.randn(3, 5)
    found = network(x)
    assert torch.equal(found.mean, x)
    assert bool((found.scale > 0).all()) and found.shape is not None and bool((found.shape >= 0.1).all())
