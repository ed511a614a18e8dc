"""UniPT: a small network beside a frozen tower, fed with the states of all its layers."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn

from clplat.config.space import Int
from clplat.models.backbone import Backbone
from clplat.models.features import ImageFeatures, TextFeatures
from clplat.models.readout import Readout
from clplat.models.stages import Tower
from clplat.parts.adapters._base import Adapter
from clplat.parts.adapters._readout import install, refuse_others, states_of

__all__ = ["UniPT"]


class UniPT(Adapter):
    """Universal parallel tuning: the towers stay frozen and are never trained through.

    Of every layer l the state ``x_l`` that the tower pools from goes into a side network,

        h_l = LN_l(D_l x_l),   A_l = relu(h_L h_l) / |relu(h_L h_l)| + 1,   w = softmax_l(g (h_L * h_l)),
        pooled + U relu(h_L + P sum_l w_l A_l h_l),

    with the last layer L as anchor and U zero at first, so that attaching changes nothing. It is a readout:
    the states of a picture are computed once and kept, and a training step computes the side network alone.

    Args:
        rank: width of the side network.
        towers: read out one tower or both.

    Raises:
        ValueError: a rank below 1, or another tower.

    What is trained: about ``layers * width * rank`` weights a tower. Needs: standard CLIP transformers.

    Reference:
        Diao et al., "UniPT: Universal Parallel Tuning for Transfer Learning with Efficient Parameter and
        Memory", CVPR 2024, arXiv:2308.14316. There all tokens of a layer interact with the anchor's; here it
        is the one token that is pooled, so that its A is a number.

    Example:
        >>> from clplat.testing.tiny import tiny_backbone
        >>> backbone = tiny_backbone()
        >>> UniPT(rank=4, towers="image").attach(backbone)[:2]
        ['readouts.default.image.down.0.weight', 'readouts.default.image.down.0.bias']
    """

    mergeable = False

    def __init__(
        self,
        rank: Annotated[int, Int(4, 256, log=True)] = 32,
        towers: Literal["both", "image", "text"] = "both",
    ) -> None:
        if rank < 1:
            raise ValueError(f"rank must be at least 1, not {rank}")
        if towers not in ("both", "image", "text"):
            raise ValueError(f"towers is '{towers}'; allowed: both, image, text")
        self.rank = rank
        self.towers = towers

    def attach(self, backbone: Backbone, name: str = "default") -> list[str]:
        """Install the side networks under ``name``; those attached before are frozen.

        Raises:
            UserError: the name is taken, adapters of another kind are attached, or a tower is opaque.
        """
        refuse_others(backbone, "unipt", name)
        readouts: dict[Tower, Readout] = {
            tower: _SideNetwork(layers, width, self.rank, backbone.embed_dim)
            for tower, (layers, width) in states_of(backbone, self.towers).items()
        }
        return install(backbone, "unipt", name, readouts, {"rank": self.rank, "towers": self.towers})


class _SideNetwork(Readout):
    """UniPT's network of one tower.

    Args:
        layers: of the tower; width: of its states; rank: of the network; joint: of the pooled feature.
    """

    wants = frozenset({"pooled", "states"})

    def __init__(self, layers: int, width: int, rank: int, joint: int) -> None:
        super().__init__()
        self.down = nn.ModuleList(nn.Linear(width, rank) for _ in range(layers))
        self.norms = nn.ModuleList(nn.LayerNorm(rank) for _ in range(layers))
        self.gate = nn.Linear(rank, 1, bias=False)  # the softmax would take a bias away
        self.project = nn.Linear(rank, rank)
        self.up = nn.Linear(rank, joint)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, found: ImageFeatures | TextFeatures) -> Tensor:
        """The tower's own pooled feature (B, D), and what the side network adds to it."""
        states: Any = found.states
        pairs = zip(self.down, self.norms, states.unbind(dim=1), strict=True)
        layers = torch.stack([norm(down(x)) for down, norm, x in pairs], dim=1)
        anchor = layers[:, -1:]
        agreement = torch.relu((anchor * layers).sum(dim=-1, keepdim=True))
        mixed = (agreement / agreement.clamp_min(1e-12) + 1) * layers
        weights = self.gate(anchor * layers).softmax(dim=1)
        side = torch.relu(anchor[:, 0] + self.project((weights * mixed).sum(dim=1)))
        out: Tensor = found.pooled + self.up(side)
        return out
