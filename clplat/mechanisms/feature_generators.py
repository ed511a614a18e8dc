"""Generators of features, fitted to those of an experience: what a memory may hold in place of examples."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Generator, Tensor

__all__ = ["Fitted", "GeneratorName", "fit_gaussian", "fit_vae", "sample"]

#: The tensors of a fitted generator, by name.
Fitted = dict[str, Tensor]
GeneratorName = Literal["gaussian", "vae"]


def fit_gaussian(rows: Tensor, rank: int) -> Fitted:
    """A normal distribution whose covariance is ``F^T F + diag(rest)``: the largest directions, and the rest.

    Args:
        rows: (N, D).
        rank: of F; the variance of every dimension is exact whatever it is.

    Example:
        >>> fitted = fit_gaussian(torch.tensor([[1.0, 0.0], [3.0, 0.0]]), rank=1)
        >>> fitted["mean"], fitted["factors"].abs().round(decimals=4)
        (tensor([2., 0.]), tensor([[1.4142, 0.0000]]))
    """
    mean = rows.mean(0)
    apart = (rows - mean) / max(len(rows) - 1, 1) ** 0.5
    _, sizes, directions = torch.linalg.svd(apart, full_matrices=False)
    factors = sizes[:rank, None] * directions[:rank]
    rest = (apart.square().sum(0) - factors.square().sum(0)).clamp(min=0)
    return {"mean": mean, "factors": factors.contiguous(), "rest": rest}


def fit_vae(
    rows: Tensor, draw: Generator, steps: int, hidden: int = 256, latent: int = 32, beta: float = 1.0
) -> Fitted:
    """The decoder of a variational autoencoder: ``MSE(x, decode(z)) + beta KL(q(z | x) || N(0, I))``.

    Both sums run over dimensions, of rows in units of their deviation; encoder and decoder are perceptrons
    with one hidden layer, trained by Adam.

    Args:
        rows: (N, D).
        draw: of first weights, batches and noise.
        steps: of the optimizer, on batches of 64.
        hidden: width of both hidden layers.
        latent: width of z.
        beta: weight of the divergence.

    References:
        Kingma & Welling 2014, arXiv 1312.6114.
    """
    mean, unit = rows.mean(0), rows.std().clamp(min=1e-6)
    x, width = (rows - mean) / unit, rows.shape[1]
    shapes = {
        "in": (width, hidden),
        "code": (hidden, 2 * latent),
        "out": (latent, hidden),
        "row": (hidden, width),
    }
    weights = {n: torch.randn(s, generator=draw) * s[0] ** -0.5 for n, s in shapes.items()}
    weights |= {f"{name} bias": torch.zeros(shape[1]) for name, shape in shapes.items()}
    for tensor in weights.values():
        tensor.requires_grad_(True)
    optimizer = torch.optim.Adam([*weights.values()], lr=1e-2)
    with torch.enable_grad():
        for _ in range(steps):
            batch = x[torch.randint(len(x), (64,), generator=draw)]
            code = _layer(weights, "in", batch).relu()
            middle, spread = _layer(weights, "code", code).chunk(2, dim=1)
            noise = torch.randn(middle.shape, generator=draw)
            again = _decoded(weights, middle + (spread / 2).exp() * noise)
            divergence = (middle.square() + spread.exp() - 1 - spread).sum(1) / 2
            loss = ((again - batch).square().sum(1) + beta * divergence).mean()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    kept = {name: weights[name].detach() for name in ("out", "out bias", "row", "row bias")}
    return {"mean": mean, "unit": unit, **kept}


def sample(fitted: Fitted, count: int, draw: Generator) -> Tensor:
    """Rows (count, D) of a fitted generator."""
    if "unit" in fitted:
        latent = torch.randn(count, len(fitted["out"]), generator=draw)
        return fitted["mean"] + fitted["unit"] * _decoded(fitted, latent)
    rank, width = fitted["factors"].shape
    main = torch.randn(count, rank, generator=draw) @ fitted["factors"]
    return fitted["mean"] + main + torch.randn(count, width, generator=draw) * fitted["rest"].sqrt()


def _layer(weights: Fitted, name: str, x: Tensor) -> Tensor:
    return x @ weights[name] + weights[f"{name} bias"]


def _decoded(weights: Fitted, latent: Tensor) -> Tensor:
    return _layer(weights, "row", _layer(weights, "out", latent).relu())
