"""Sparse upcycling: the MLPs of a dense model become experts, copies of them, with a router between them."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal, cast

from torch import Tensor, nn

from clplat.config.space import Float, Int
from clplat.mechanisms.experts import load_balance, mixed, router_z
from clplat.models.adapters import Route
from clplat.models.backbone import Backbone
from clplat.parts.adapters._base import Adapter
from clplat.parts.adapters._experts import (
    Experts,
    Mixture,
    install_experts,
)

__all__ = ["Upcycled"]


class Upcycled(Adapter):
    """The MLPs become mixtures of ``experts`` copies: every token goes through ``k`` of them.

    In a block ``sum_e g_e MLP_e(h)`` takes the place of ``MLP(h)``, g = softmax over the k largest entries of
    ``W h``. All experts begin as copies and gates sum to one, so that attaching changes nothing. Two losses
    keep the router in order: ``balance * E sum_e f_e p_e`` and ``z * mean logsumexp(W h)^2``. Copies give the
    task no reason to prefer one: they part because a random router sends them other tokens.

    Args:
        experts: number of them, in each block; 1 is a copy of the MLP that is trained in its place.
        k: experts that a token goes through; with 1 of several, balance alone trains the router.
        every: each so-many-th block, the last of a tower among them; the other MLPs stay dense.
        towers: one tower or both.
        balance: weight of the load-balance loss, the mean over the blocks, in training.
        z: weight of the router's z loss.

    Raises:
        ValueError: a size below 1, k above the number of experts, a weight below 0, another tower.

    What is trained: ``experts`` times the MLPs, and routers; active is ``k`` times. The dense MLPs stay
    beside, for the bare base, and are not computed.

    References:
        Wang et al., "CLIP-UP: A Simple and Efficient Mixture-of-Experts CLIP Training Recipe with Sparse
        Upcycling", EMNLP Findings 2025, arXiv:2502.00965; Komatsuzaki et al. 2022, arXiv:2212.05055.

    Example:
        >>> from clplat.testing.tiny import tiny_backbone
        >>> Upcycled(experts=2, k=1, towers="image").attach(tiny_backbone())[:2]
        ['model.visual.transformer.resblocks.0.mlp.experts.default.gate.weight', \
'model.visual.transformer.resblocks.0.mlp.experts.default.each.0.c_fc.weight']
    """

    mergeable = False
    plain: ClassVar[dict[str, Any]] = {"experts": 1, "k": 1, "balance": 0.0, "z": 0.0}

    def __init__(
        self,
        experts: Annotated[int, Int(2, 16, log=True)] = 4,
        k: int = 2,
        every: Annotated[int, Int(1, 4)] = 1,
        towers: Literal["both", "image", "text"] = "both",
        balance: Annotated[float, Float(1e-3, 1.0, log=True)] = 0.01,
        z: Annotated[float, Float(1e-4, 0.1, log=True)] = 0.001,
    ) -> None:
        if min(experts, k, every) < 1 or k > experts:
            raise ValueError(f"needs 1 <= k <= experts and every >= 1, not {k}, {experts} and {every}")
        if not (balance >= 0 and z >= 0):
            raise ValueError(f"balance and z must be at least 0, not {balance} and {z}")
        if towers not in ("both", "image", "text"):
            raise ValueError(f"towers is '{towers}'; allowed: both, image, text")
        self.experts = experts
        self.k = k
        self.every = every
        self.towers = towers
        self.balance = balance
        self.z = z

    def attach(self, backbone: Backbone, name: str = "default") -> list[str]:
        """Turn MLPs into experts under ``name`` and use them; those attached before are frozen.

        Raises:
            UserError: the name is taken, adapters of another kind are attached, or a tower is opaque.
        """

        def make(block: Any) -> Experts:
            dense = block.mlp.base if isinstance(block.mlp, Mixture) else block.mlp
            return _Copies(dense, self.experts, self.k, block.ln_2.normalized_shape[0])

        names = ("experts", "k", "every", "towers", "balance", "z")
        options = {key: getattr(self, key) for key in names}
        return install_experts(
            backbone, name, "upcycled", options, make, self._losses, self.towers, self.every
        )

    def _losses(self, route: Route) -> dict[str, Tensor]:
        logits, _ = route
        found = {}
        if self.balance:
            found["balance"] = self.balance * load_balance(logits, self.k)
        if self.z:
            found["router_z"] = self.z * router_z(logits)
        return found

    def use(self, backbone: Backbone, expert: int | None) -> None:
        """Let all tokens go through one expert of each block, or with None through those that it chooses.

        What a feature store has kept is of another model then: `FeatureCache.refresh` makes it look again.
        """
        for module in backbone.modules():
            if isinstance(module, _Copies):
                module.only = expert


class _Copies(Experts):
    """Experts in the place of an MLP, each a copy of it."""

    beside = False

    def __init__(self, dense: nn.Module, count: int, k: int, width: int) -> None:
        super().__init__(k, count, width)
        self.each = nn.ModuleList(copy.deepcopy(dense) for _ in range(count))
        self.each.requires_grad_(True)
        #: The one expert that all tokens go through; None: those that the gate chooses.
        self.only: int | None = None
        if count == 1:
            del self.gate  # there is nothing to choose

    def forward(self, h: Tensor) -> tuple[Tensor, Route | None]:
        if self.only is None and len(self.each) > 1:
            return super().forward(h)
        out: Tensor = self.each[self.only or 0](h)
        return out, None

    def made(self, h: Tensor, gates: Tensor) -> Tensor:
        return mixed(h, gates, cast("Sequence[Any]", self.each))

    def idle(self) -> int:
        return (len(self.each) - self.k) * sum(p.numel() for p in self.each[0].parameters())
