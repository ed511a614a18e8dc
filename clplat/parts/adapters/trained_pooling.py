"""Trained pooling: which of a frozen tower's outputs are pooled, and how, with all else equal."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn

from clplat.config.space import Choice, Int
from clplat.mechanisms.side_networks import LayerReader, masked_mean
from clplat.models.backbone import Backbone
from clplat.models.features import ImageFeatures, TextFeatures
from clplat.models.readout import Readout
from clplat.parts.adapters._base import Adapter
from clplat.parts.adapters._readout import install, refuse_others, states_of

__all__ = ["TrainedPooling"]


class TrainedPooling(Adapter):
    """``pooled + U gelu(p)``, p a pooling of what a frozen tower computed, U zero at first.

    ===========  ===================================================================================
    pool         p
    ===========  ===================================================================================
    own          ``V x``, x the last state of the token that the tower pools from: CLS or EOT
    mean         ``V x``, x the mean of the last layer's tokens, of texts up to the EOT
    attention    what queries read of those tokens, ``mean_q softmax(q (K X)') V X``
    layers       what queries read of the states of *all* layers, each with a key of its own added
    ===========  ===================================================================================

    Only the pooling differs, so that they can be compared with everything else equal; keep the seeds equal
    and test the differences in pairs, as ``clplat sweep`` does. States and tokens of a frozen tower are kept.

    Args:
        pool: as above.
        rank: width of p.
        queries: of ``attention`` and ``layers``.
        towers: read out one tower or both.

    Raises:
        ValueError: a size below 1, another word.

    What is trained: about ``rank * (2 * width + joint)`` weights a tower. Needs: standard CLIP transformers.

    Reference:
        Tang and Yang, "Pooling and Attention: What Are Effective Designs for LLM-Based Embedding Models?",
        2024, arXiv:2409.02727.

    Example:
        >>> from clplat.testing.tiny import tiny_backbone
        >>> TrainedPooling("mean", rank=4, towers="image").attach(tiny_backbone())[0]
        'readouts.default.image.norm.weight'
    """

    mergeable = False

    def __init__(
        self,
        pool: Annotated[
            Literal["own", "mean", "attention", "layers"], Choice("own", "mean", "attention", "layers")
        ] = "layers",
        rank: Annotated[int, Int(4, 256, log=True)] = 32,
        queries: Annotated[int, Int(1, 32, log=True)] = 4,
        towers: Literal["both", "image", "text"] = "both",
    ) -> None:
        if min(rank, queries) < 1:
            raise ValueError(f"rank and queries must be at least 1, not {rank} and {queries}")
        if pool not in ("own", "mean", "attention", "layers"):
            raise ValueError(f"pool is '{pool}'; allowed: own, mean, attention, layers")
        if towers not in ("both", "image", "text"):
            raise ValueError(f"towers is '{towers}'; allowed: both, image, text")
        self.pool, self.rank, self.queries, self.towers = pool, rank, queries, towers

    def attach(self, backbone: Backbone, name: str = "default") -> list[str]:
        """Install the poolings under ``name``; those attached before are frozen.

        Raises:
            UserError: the name is taken, adapters of another kind are attached, or a tower is opaque.
        """
        refuse_others(backbone, "trained_pooling", name)
        readouts: dict[Any, Readout] = {
            tower: _Pooling(self.pool, self.rank, self.queries, layers, width, backbone.embed_dim)
            for tower, (layers, width) in states_of(backbone, self.towers).items()
        }
        return install(backbone, "trained_pooling", name, readouts, dict(vars(self)))


class _Pooling(Readout):
    """The pooling of one tower.

    Args:
        pool, rank, queries: as in `TrainedPooling`.
        layers: of the tower; wide: width of its states; joint: of the pooled feature.
    """

    def __init__(self, pool: str, rank: int, queries: int, layers: int, wide: int, joint: int) -> None:
        super().__init__()
        self.pool = pool
        self.wants = frozenset({"pooled", "states" if pool in ("own", "layers") else "tokens"})  # type: ignore[misc]
        self.norm = nn.LayerNorm(wide) if pool in ("own", "mean") else nn.Identity()
        self.read: Any = (
            nn.Linear(wide, rank)
            if pool in ("own", "mean")
            else LayerReader(wide, rank, queries, layers if pool == "layers" else 0)
        )
        self.up = nn.Linear(rank, joint)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, found: ImageFeatures | TextFeatures) -> Tensor:
        """The tower's own pooled feature (B, D), and what is pooled beside it."""
        out: Tensor = found.pooled + self.up(nn.functional.gelu(self._pooled(found)))
        return out

    def _pooled(self, found: Any) -> Tensor:
        ends = getattr(found, "ends", None)
        if self.pool == "layers":
            p: Tensor = self.read(found.states)
            return p
        if self.pool == "attention":
            n = found.tokens.shape[1]
            missing = None if ends is None else torch.arange(n, device=ends.device) > ends[:, None]
            p = self.read(found.tokens, missing)
            return p
        x = found.states[:, -1] if self.pool == "own" else masked_mean(found.tokens, ends)
        p = self.read(self.norm(x))
        return p
