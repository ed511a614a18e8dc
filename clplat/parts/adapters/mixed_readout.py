"""A gated mixture of two ways to read out an image tower: its pooled feature, and queries to its patches."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from torch import Tensor, nn

from clplat.config.space import Int
from clplat.errors import UserError
from clplat.models.backbone import Backbone
from clplat.models.features import ImageFeatures, TextFeatures
from clplat.models.readout import Readout
from clplat.parts.adapters._base import Adapter
from clplat.parts.adapters._readout import install, refuse_others

__all__ = ["MixedReadout"]


class MixedReadout(Adapter):
    """A mixture of adapters behind a frozen image tower, weighted for each picture by a soft gate.

    ``pooled + g_1 MLP(pooled) + g_2 MLP'(mean_q softmax(q K^T) V)`` with g = softmax(G pooled), and keys and
    values of the patches' tokens. The last layers are zero at first, so that attaching changes nothing, and
    so is G: both weigh the same. The parts are ``projection``, ``resampler`` and ``gate`` by name, to be
    trained in turns by the strategy ``alternate``.

    Args:
        rank: width of the hidden layers and of the queries.
        queries: that look at the patches.

    Raises:
        ValueError: a size below 1.

    What is trained: about ``rank * (2 * joint + 3 * width)`` weights. Needs: a vision transformer of CLIP.

    Reference:
        Zhang et al., "Beyond LLaVA-HD: Diving into High-Resolution Large Multimodal Models", 2024,
        arXiv:2406.08487 (SliME).

    Example:
        >>> from clplat.testing.tiny import tiny_backbone
        >>> MixedReadout(rank=4).attach(tiny_backbone())[0]
        'readouts.default.image.resampler_queries'
    """

    mergeable = False

    def __init__(
        self,
        rank: Annotated[int, Int(8, 256, log=True)] = 32,
        queries: Annotated[int, Int(1, 32, log=True)] = 4,
    ) -> None:
        if min(rank, queries) < 1:
            raise ValueError(f"rank and queries must be at least 1, not {rank} and {queries}")
        self.rank = rank
        self.queries = queries

    def attach(self, backbone: Backbone, name: str = "default") -> list[str]:
        """Install the mixture under ``name``; those attached before are frozen.

        Raises:
            UserError: the name is taken, adapters of another kind are attached, or an opaque image tower.
        """
        refuse_others(backbone, "mixed_readout", name)
        if backbone.image_layers is None or backbone.image_width is None:
            raise UserError(f"the image tower of backbone '{backbone.name}' has no tokens to read")
        network = _Mixed(backbone.image_width, backbone.embed_dim, self.rank, self.queries)
        options = {"rank": self.rank, "queries": self.queries}
        return install(backbone, "mixed_readout", name, {"image": network}, options)


class _Mixed(Readout):
    """The mixture of one tower.

    Args:
        width: of the tokens; joint: of the pooled feature; rank: of hidden layers; queries: to the tokens.
    """

    wants = frozenset({"pooled", "tokens"})

    def __init__(self, width: int, joint: int, rank: int, queries: int) -> None:
        super().__init__()
        self.projection = nn.Sequential(nn.Linear(joint, rank), nn.GELU(), nn.Linear(rank, joint))
        self.resampler = nn.ModuleDict(
            {
                "key": nn.Linear(width, rank, bias=False),
                "value": nn.Linear(width, rank),
                "out": nn.Sequential(nn.GELU(), nn.Linear(rank, joint)),
            }
        )
        self.resampler_queries = nn.Parameter(torch.randn(queries, rank) / rank**0.5)
        self.gate = nn.Linear(joint, 2)
        last: tuple[Any, ...] = (self.projection[2], self.resampler["out"][1], self.gate)  # type: ignore[index]
        for layer in last:
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, found: ImageFeatures | TextFeatures) -> Tensor:
        """The tower's own pooled feature (B, D), and what the mixture adds to it."""
        pooled, tokens = found.pooled, found.tokens
        keys, values = self.resampler["key"](tokens), self.resampler["value"](tokens)
        scores = self.resampler_queries @ keys.transpose(1, 2) / keys.shape[-1] ** 0.5
        seen = (scores.softmax(dim=-1) @ values).mean(dim=1)
        made = torch.stack([self.projection(pooled), self.resampler["out"](seen)], dim=1)
        weights = self.gate(pooled).softmax(dim=-1)
        out: Tensor = pooled + (weights[..., None] * made).sum(dim=1)
        return out
