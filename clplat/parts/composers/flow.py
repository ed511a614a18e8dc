"""A flow from the query to its answer: a velocity that is integrated in the joint space."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from clplat.config.space import Float, Int
from clplat.models.features import POOLED, ImageFeatures, TextFeatures
from clplat.parts.composers._base import Composer

__all__ = ["Flow"]


class Flow(Composer):
    """The query flows to its answer: ``z_0 = mu(r, t)``, ``z_(k+1) = z_k + v(z_k, k / K) / K``, ``q = z_K``.

    mu is the mean of a variational encoder, the sum of the unit features r and t plus a network, and v a
    network too; both networks add nothing at first, so that training starts from `Sum`. With a the unit
    feature of the answer, ``z_0 ~ N(mu, sigma^2)`` and t from 0 to 1 at random, flow matching trains v,

        ``E || v((1 - t) z_0 + t a, t) - (a - z_0) ||^2 + kl KL(N(mu, sigma^2) || N(0, 1))``,

    as means over dimensions, without any noise as a source and without conditioning. A share ``unpaired`` of
    the steps leads to another answer of the batch, which v is told by an indicator; at inference
    ``v = v_1 + (guidance - 1)(v_1 - v_0)``, of v_1 as trained on pairs and v_0 not.

    Args:
        hidden: units of both networks.
        steps: K, of Euler's method.
        guidance: how far the flow of pairs is followed away from the other one; 1: it alone.
        unpaired: share of training steps without pairs.
        kl: weight of the divergence.
        matching: weight of the flow's loss; 0: the task's loss alone trains it.

    Raises:
        ValueError: a number out of its range.

    What is trained: both networks.

    Reference:
        Liu et al., "Flowing from Words to Pixels: A Framework for Cross-Modality Evolution" (CrossFlow), CVPR
        2025, arXiv:2412.15213, which flows from texts to latents of pictures.

    Example:
        >>> composer = Flow(hidden=8)
        >>> composer.build(2)
        >>> composer(torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, 4.0]])).detach()
        tensor([[1., 1.]])
    """

    learns_from: ClassVar[Mapping[str, frozenset[str]]] = {"answer": POOLED}

    def __init__(
        self,
        hidden: Annotated[int, Int(64, 2048, log=True)] = 512,
        steps: Annotated[int, Int(1, 20, log=True)] = 4,
        guidance: Annotated[float, Float(1.0, 4.0)] = 1.0,
        unpaired: Annotated[float, Float(0.0, 0.5)] = 0.1,
        kl: Annotated[float, Float(1e-5, 0.1, log=True)] = 1e-4,
        matching: Annotated[float, Float(0.1, 10.0, log=True)] = 1.0,
    ) -> None:
        super().__init__()
        if min(hidden, steps) < 1 or not guidance >= 1 or not 0.0 <= unpaired < 1.0 or min(kl, matching) < 0:
            raise ValueError(
                f"needs hidden, steps and guidance >= 1, unpaired in [0, 1), kl and matching >= 0, "
                f"not {hidden}, {steps}, {guidance}, {unpaired}, {kl} and {matching}"
            )
        self.hidden, self.steps, self.guidance = hidden, steps, guidance
        self.unpaired, self.kl, self.matching = unpaired, kl, matching

    @property
    def objectives(self) -> tuple[str, ...]:
        """The flow's, where it has a weight."""
        return ("flow", "kl") if self.matching else ()

    def build(self, embed_dim: int) -> None:
        """Draw both networks for the joint space; their last layers are zero."""
        self.encoder = _network(2 * embed_dim, self.hidden, 2 * embed_dim)
        self.velocity = _network(embed_dim + 2, self.hidden, embed_dim)

    def forward(self, image: ImageFeatures, text: TextFeatures) -> Tensor:
        """Return (B, D), not normalised."""
        z = self._source(image.pooled, text.pooled)[0]
        for step in range(self.steps):
            time = z.new_full((len(z), 1), step / self.steps)
            z = z + self._followed(z, time) / self.steps
        return z

    def _source(self, shown: Tensor, said: Tensor) -> tuple[Tensor, Tensor]:
        """The mean (B, D) of the encoder, and the logarithm of its variance."""
        r, t = normalize(shown, dim=-1), normalize(said, dim=-1)
        added, spread = self.encoder(torch.cat([r, t], dim=-1)).chunk(2, dim=-1)
        return r + t + added, spread

    def _followed(self, z: Tensor, time: Tensor) -> Tensor:
        paired: Tensor = self.velocity(torch.cat([z, time, torch.ones_like(time)], dim=-1))
        if self.guidance == 1.0:
            return paired
        other: Tensor = self.velocity(torch.cat([z, time, torch.zeros_like(time)], dim=-1))
        return paired + (self.guidance - 1.0) * (paired - other)

    def terms(self, batch: Any, outputs: Any) -> dict[str, Tensor]:
        """``flow`` and ``kl``, over the triplets of a batch."""
        seen = outputs.triplets
        if seen is None or not self.matching:
            return {}
        mean, spread = self._source(seen.reference.pooled, seen.text.pooled)
        source = mean + (0.5 * spread).exp() * torch.randn_like(mean)
        answer = normalize(seen.answer.pooled, dim=-1).detach()
        draw = torch.rand(len(answer), 2, device=answer.device)
        paired, time = (draw[:, :1] >= self.unpaired).to(answer.dtype), draw[:, 1:]
        goal = torch.where(paired > 0, answer, answer.roll(1, 0))
        z = (1.0 - time) * source + time * goal
        made = self.velocity(torch.cat([z, time, paired], dim=-1))
        flow = (made - (goal - source)).square().mean()
        kl = 0.5 * (mean.square() + spread.exp() - 1.0 - spread).mean()
        return {"flow": self.matching * flow, "kl": self.kl * kl}


def _network(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    last = nn.Linear(hidden, outputs)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Linear(inputs, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(), last)
