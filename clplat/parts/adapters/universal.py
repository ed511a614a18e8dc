"""OneEncoder: one small encoder behind both towers, frozen after its first domain; then alignments alone."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from torch import Tensor, nn

from clplat.config.space import Int
from clplat.mechanisms.side_networks import Residual
from clplat.models.backbone import Backbone
from clplat.models.features import ImageFeatures, TextFeatures
from clplat.models.readout import Readout
from clplat.parts.adapters._base import Adapter
from clplat.parts.adapters._readout import install, refuse_others

__all__ = ["Universal"]


class Universal(Adapter):
    """A universal projection of both frozen towers, and for each further domain one alignment before it.

    ``f + U P(H f + m)``: f a tower's pooled feature, H a head and m a token of this tower, P and U the same
    for both. That is what the first one attached trains. Each further one trains ``a -> A a + d`` alone, in
    ``f + U P(A (H f + m) + d)`` with A the identity and d zero at first, so that it begins as the first one
    and whatever was trained before computes the same bits. With a strategy that keeps an adapter for each
    domain (``routed_experts``) nothing of an earlier domain is forgotten, but for wrong routes.

    Args:
        rank: width of heads and projection.
        depth: of P, in blocks of a transformer for a single token.

    Raises:
        ValueError: a size below 1.

    What is trained: ``2 * rank * (D + rank) + 8 * depth * rank^2`` weights and more, and for each further
    domain ``2 * rank * (rank + 2)``.

    Reference:
        Faye et al., "OneEncoder: A Lightweight Framework for Progressive Alignment of Modalities", 2024,
        arXiv:2409.11059.

    Example:
        >>> from clplat.testing.tiny import tiny_backbone
        >>> backbone = tiny_backbone()
        >>> Universal(rank=4).attach(backbone)[0]
        'readouts.default.image.token'
        >>> Universal(rank=4).attach(backbone, "second")
        ['readouts.second.image.align.weight', 'readouts.second.image.align.bias', \
'readouts.second.text.align.weight', 'readouts.second.text.align.bias']
    """

    mergeable = False
    # The first one is; each further one begins as the first.
    identity_at_init = False

    def __init__(
        self,
        rank: Annotated[int, Int(8, 512, log=True)] = 64,
        depth: Annotated[int, Int(1, 4)] = 1,
    ) -> None:
        if min(rank, depth) < 1:
            raise ValueError(f"rank and depth must be at least 1, not {rank} and {depth}")
        self.rank, self.depth = rank, depth

    def attach(self, backbone: Backbone, name: str = "default") -> list[str]:
        """Install the projection under ``name``, or beside an earlier one an alignment before that.

        Raises:
            UserError: the name is taken, or adapters of another kind are attached.
        """
        refuse_others(backbone, "universal", name)
        first = next(iter(backbone.adapters.installed), None)
        readouts: dict[Any, Readout] = {}
        if first is None:
            shared = _Projection(self.rank, self.depth, backbone.embed_dim)
            for tower in ("image", "text"):
                readouts[tower] = _First(backbone.embed_dim, self.rank, shared)
        else:
            held: Any = backbone.readouts[first]
            readouts = {tower: _Further(held[tower]) for tower in ("image", "text")}
        return install(backbone, "universal", name, readouts, {"rank": self.rank, "depth": self.depth})


class _Projection(nn.Module):
    """U P: blocks, and the way back to the joint space."""

    def __init__(self, rank: int, depth: int, joint: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(Residual(rank) for _ in range(depth)))
        self.up = nn.Linear(rank, joint)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, h: Tensor) -> Tensor:
        made: Tensor = self.up(self.blocks(h))
        return made


class _First(Readout):
    """Head and token of a tower, and the projection of both."""

    def __init__(self, joint: int, rank: int, shared: _Projection) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.randn(rank) / rank**0.5)
        self.head = nn.Sequential(
            nn.Linear(joint, rank), nn.GELU(), nn.Linear(rank, rank), nn.LayerNorm(rank)
        )
        self.shared = shared

    def asked(self, pooled: Tensor) -> Tensor:
        """What the projection is given (B, rank)."""
        h: Tensor = self.head(pooled) + self.token
        return h

    def forward(self, found: ImageFeatures | TextFeatures) -> Tensor:
        out: Tensor = found.pooled + self.shared(self.asked(found.pooled))
        return out


class _Further(Readout):
    """An alignment before what the first one trained, which stays frozen."""

    def __init__(self, first: _First) -> None:
        super().__init__()
        rank = first.token.shape[0]
        self._first = (first,)  # in a tuple: it stands under its own name
        self.align = nn.Linear(rank, rank)
        nn.init.eye_(self.align.weight)
        nn.init.zeros_(self.align.bias)

    def forward(self, found: ImageFeatures | TextFeatures) -> Tensor:
        first = self._first[0]
        out: Tensor = found.pooled + first.shared(self.align(first.asked(found.pooled)))
        return out
