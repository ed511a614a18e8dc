"""Generators draw features of the distribution that they were fitted to."""

from __future__ import annotations

import torch

from clplat.mechanisms.feature_generators import fit_gaussian, fit_vae, sample
from clplat.randomness import generator


def draw(purpose: str) -> torch.Generator:
    return generator(0, purpose)


def test_a_normal_distribution_keeps_mean_and_variances_and_the_main_directions() -> None:
    mix = torch.randn(5, 5, generator=draw("mix")) * torch.tensor([3.0, 2.0, 0.3, 0.2, 0.1])[:, None]
    rows = torch.randn(400, 5, generator=draw("rows")) @ mix + torch.arange(5)
    whole, main = fit_gaussian(rows, rank=5), fit_gaussian(rows, rank=2)
    covariance = torch.cov(rows.T.double())
    rebuilt = whole["factors"].double().T @ whole["factors"].double() + whole["rest"].double().diag()
    assert torch.allclose(rebuilt, covariance, atol=1e-4)
    part = main["factors"].double().T @ main["factors"].double() + main["rest"].double().diag()
    assert torch.allclose(part.diagonal(), covariance.diagonal(), rtol=1e-4)
    drawn = sample(main, 20_000, draw("sample"))
    assert torch.allclose(drawn.mean(0), rows.mean(0), atol=0.15)
    assert torch.allclose(torch.cov(drawn.T), part.float(), atol=0.6)


def test_an_autoencoder_learns_two_clusters() -> None:
    centres = torch.stack([torch.ones(20), -torch.ones(20)])
    rows = centres[torch.arange(200) % 2] + 0.1 * torch.randn(200, 20, generator=draw("noise"))
    fitted = fit_vae(rows, draw("vae"), steps=200, hidden=128, latent=4)
    drawn, normal = sample(fitted, 500, draw("sample")), sample(fit_gaussian(rows, 20), 500, draw("sample"))
    nearest, other = (torch.cdist(x, centres).min(1) for x in (drawn, normal))
    assert 0.3 < float((nearest.indices == 0).float().mean()) < 0.7
    assert float(nearest.values.median()) < 0.9 * float(other.values.median()), (
        "nearer than those of one normal distribution"
    )
    again = fit_vae(rows, draw("vae"), steps=2, hidden=8)
    same = fit_vae(rows, draw("vae"), steps=2, hidden=8)
    assert all(torch.equal(same[name], again[name]) for name in same), "the same draws, the same decoder"
