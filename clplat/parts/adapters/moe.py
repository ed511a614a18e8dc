"""MoE-Adapters: a sparse mixture of small experts beside the MLP of every block."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from clplat.config.space import Float, Int
from clplat.mechanisms.experts import mixed, variation
from clplat.models.adapters import Route
from clplat.models.backbone import Backbone
from clplat.parts.adapters._base import Adapter
from clplat.parts.adapters._experts import Experts, install_experts

__all__ = ["MoEAdapter"]


class MoEAdapter(Adapter):
    """Mixtures of experts beside the MLPs: every token goes through ``k`` of ``experts`` bottlenecks.

    In each block ``MLP(h) + sum_e g_e U_e relu(D_e h)``, g = softmax over the k largest entries of ``W h``.
    U is zero at first, so that attaching changes nothing. In training the other experts are not computed. A
    balance loss, the squared coefficient of variation of the experts' summed gates, keeps all in use.

    Args:
        experts: number of them, in each block.
        k: experts that a token goes through.
        rank: width of the bottlenecks.
        towers: one tower or both.
        balance: weight of the balance loss, the mean over the blocks, in training.

    Raises:
        ValueError: a size below 1, k above the number of experts, a weight below 0, another tower.

    What is trained: ``experts * (2 * rank * width + rank + 2 * width)`` numbers a block.

    Reference:
        Yu et al., "Boosting Continual Learning of Vision-Language Models via Mixture-of-Experts Adapters",
        CVPR 2024, arXiv:2403.11549. Balance loss of Shazeer et al. 2017, arXiv:1701.06538.

    Example:
        >>> from clplat.testing.tiny import tiny_backbone
        >>> MoEAdapter(experts=2, k=1, rank=2, towers="image").attach(tiny_backbone())[0]
        'model.visual.transformer.resblocks.0.mlp.experts.default.gate.weight'
    """

    mergeable = False
    plain: ClassVar[dict[str, Any]] = {"experts": 1, "k": 1, "balance": 0.0}

    def __init__(
        self,
        experts: Annotated[int, Int(2, 22, log=True)] = 4,
        k: int = 2,
        rank: Annotated[int, Int(4, 128, log=True)] = 16,
        towers: Literal["both", "image", "text"] = "both",
        balance: Annotated[float, Float(1e-3, 1.0, log=True)] = 0.01,
    ) -> None:
        if min(experts, k, rank) < 1 or k > experts:
            raise ValueError(f"needs 1 <= k <= experts and rank >= 1, not {k}, {experts} and {rank}")
        if not balance >= 0:
            raise ValueError(f"balance must be at least 0, not {balance}")
        if towers not in ("both", "image", "text"):
            raise ValueError(f"towers is '{towers}'; allowed: both, image, text")
        self.experts = experts
        self.k = k
        self.rank = rank
        self.towers = towers
        self.balance = balance

    def attach(self, backbone: Backbone, name: str = "default") -> list[str]:
        """Install mixtures under ``name`` and use them; those attached before are frozen.

        Raises:
            UserError: the name is taken, adapters of another kind are attached, or a tower is opaque.
        """

        def make(block: Any) -> Experts:
            return _Bottlenecks(self.experts, self.k, self.rank, block.ln_2.normalized_shape[0])

        options = {key: getattr(self, key) for key in ("experts", "k", "rank", "towers", "balance")}
        return install_experts(backbone, name, "moe", options, make, self._losses, self.towers)

    def _losses(self, route: Route) -> dict[str, Tensor]:
        return {"balance": self.balance * variation(route[1])} if self.balance else {}


class _Bottlenecks(Experts):
    """Experts ``U_e relu(D_e h)``, whose U is zero at first."""

    def __init__(self, count: int, k: int, rank: int, width: int) -> None:
        super().__init__(k, count, width)
        self.down = nn.ModuleList(nn.Linear(width, rank) for _ in range(count))
        self.up = nn.ModuleList(nn.Linear(rank, width) for _ in range(count))
        for layer in self.up:
            nn.init.zeros_(layer.weight)  # type: ignore[arg-type]
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def made(self, h: Tensor, gates: Tensor) -> Tensor:
        pairs = zip(self.down, self.up, strict=True)
        return mixed(h, gates, [partial(_bottleneck, down, up) for down, up in pairs])

    def idle(self) -> int:
        each = sum(p.numel() for layer in (self.down[0], self.up[0]) for p in layer.parameters())
        return (len(self.down) - self.k) * each


def _bottleneck(down: nn.Module, up: nn.Module, h: Tensor) -> Tensor:
    out: Tensor = up(torch.relu(down(h)))
    return out
