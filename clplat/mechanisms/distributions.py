"""Embeddings that are distributions: a mean, a scale and a shape for each number; networks that give them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

__all__ = ["Distribution", "SpreadNetwork", "kl_to_standard"]

#: Below this a scale or a shape is no number to divide by.
_LEAST = 1e-4


@dataclass(frozen=True)
class Distribution:
    """What a head returns beside one vector: independent distributions of the D numbers of N embeddings.

    With a shape b it is the generalised Gaussian ``b / (2 a G(1/b)) exp(-(|x - m| / a)^b)`` of mean m and
    scale a, which is Laplace's with b = 1; without one it is the Gaussian of deviation a.

    Args:
        mean: (N, D); scale: (N, D), above 0.
        shape: (N, D), above 0, or None.

    Example:
        >>> laplace = Distribution(torch.zeros(1, 1), torch.ones(1, 1), torch.ones(1, 1))
        >>> laplace.variance(), laplace.nll(torch.zeros(1, 1))  # 2 a^2, log 2
        (tensor([[2.]]), tensor([[0.6931]]))
    """

    mean: Tensor
    scale: Tensor
    shape: Tensor | None = None

    def nll(self, x: Tensor) -> Tensor:
        """``-log p(x)`` (N, D); the residual is taken to the power of the shape, as the density has it."""
        apart = (x - self.mean).abs() / self.scale
        if self.shape is None:
            return 0.5 * apart.square() + self.scale.log() + 0.5 * math.log(2 * math.pi)
        # The slope of x^b at 0 is infinite for b below 1: nothing is nearer than this.
        powered = apart.clamp(min=1e-6).pow(self.shape).clamp(max=1e3)
        constant = (2.0 * self.scale).log() + torch.lgamma(1.0 / self.shape) - self.shape.log()
        return powered + constant

    def variance(self) -> Tensor:
        """(N, D): of a generalised Gaussian ``a^2 G(3/b) / G(1/b)``."""
        if self.shape is None:
            return self.scale.square()
        logs = torch.lgamma(3.0 / self.shape) - torch.lgamma(1.0 / self.shape)
        return self.scale.square() * logs.exp()

    def uncertainty(self) -> Tensor:
        """How wide each embedding is (N,): its mean variance."""
        return self.variance().mean(1)

    def samples(self, noise: Tensor) -> Tensor:
        """Gaussian samples (N, S, D) of standard noise (S, D) or (N, S, D); noise of 0 gives the mean."""
        return self.mean[:, None] + noise * self.variance().sqrt()[:, None]


def kl_to_standard(found: Distribution) -> Tensor:
    """``KL(N(m, s^2) || N(0, 1))`` (N,), summed over the numbers of each embedding.

    Example:
        >>> kl_to_standard(Distribution(torch.ones(1, 2), torch.ones(1, 2)))
        tensor([1.])
    """
    squared = found.variance()
    return 0.5 * (found.mean.square() + squared - 1.0 - squared.log()).sum(1)


class SpreadNetwork(nn.Module):
    """Three heads on one body: embeddings (N, D) -> the generalised Gaussian of each.

    ``h = x + MLP(x)``; the mean is ``x + M(h)``, 1 / a and b are positive functions of h. M begins at zero,
    so that the mean is the embedding at first.

    Args:
        width: D.
        hidden: of the body; the heads are as wide as the embedding.
        dropout: inside the body.

    Reference:
        Upadhyay et al., "ProbVLM: Probabilistic Adapter for Frozen Vision-Language Models", ICCV 2023,
        arXiv:2307.00398. There the mean has no residual, and 1 / a and b end in a ReLU, which gives no
        gradient where it is 0 and a gamma function of 10,000; here they end in a softplus.

    Example:
        >>> found = SpreadNetwork(4, hidden=8)(torch.ones(2, 4))
        >>> found.mean.tolist()[0], bool((found.scale > 0).all())
        ([1.0, 1.0, 1.0, 1.0], True)
    """

    def __init__(self, width: int, hidden: int = 256, dropout: float = 0.1) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(width, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, width),
        )
        self.mean, self.inverse_scale, self.shape = (
            nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width)) for _ in range(3)
        )
        last: Any = self.mean[2]
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(self, x: Tensor) -> Distribution:
        h = x + self.body(x)
        inverse, shape = softplus(self.inverse_scale(h)) + _LEAST, softplus(self.shape(h)) + 0.1
        return Distribution(x + self.mean(h), 1.0 / inverse, shape)
