"""MoE-Adapters: a sparse mixture of small experts beside the MLP of every block."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn

from clplat.config.space import Float, Int
from clplat.errors import UserError, unknown_name
from clplat.mechanisms.balance import importance_variation
from clplat.models.adapters import AdapterState
from clplat.models.backbone import Backbone
from clplat.models.names import refuse_wrapped
from clplat.parts.adapters._base import Adapter

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
        refuse_wrapped(backbone.model)
        state = backbone.adapters
        if name in state.installed or (state.installed and not isinstance(state, _State)):
            raise UserError(f"'{next(iter(state.installed))}' is attached already")
        blocks = self._blocks(backbone)
        if not isinstance(state, _State):
            backbone.adapters = state = _State()
        trained = set()
        for block in blocks:
            if not isinstance(block.mlp, _Mixture):
                block.mlp = _Mixture(block.mlp, state)
            block.mlp.experts.requires_grad_(False)
            made = _Experts(self.experts, self.k, self.rank, block.ln_2.normalized_shape[0])
            block.mlp.experts[name] = made.to(backbone.logit_scale)
            trained |= {id(parameter) for parameter in made.parameters()}
        options = {key: getattr(self, key) for key in ("experts", "k", "rank", "towers", "balance")}
        state.installed[name] = {"method": "moe", "options": options}
        state.active = name
        return [key for key, parameter in backbone.named_parameters() if id(parameter) in trained]

    def activate(self, backbone: Backbone, name: str | None) -> None:
        """Use the mixtures ``name`` from now on, or with None the bare MLPs."""
        if name is not None and name not in backbone.adapters.installed:
            raise unknown_name("attached adapter", name, backbone.adapters.installed)
        backbone.adapters.active = name

    def merge(self, backbone: Backbone) -> None:
        """Refuse: which experts a token goes through depends on the token."""
        raise UserError("mixtures of experts cannot be merged into the base weights")

    def _blocks(self, backbone: Backbone) -> list[Any]:
        found: list[Any] = []
        text = getattr(backbone.model, "text", backbone.model)
        for tower, top in (("image", backbone.model.visual), ("text", text)):
            if self.towers in ("both", tower):
                if getattr(backbone, f"{tower}_layers") is None:
                    raise UserError(f"the {tower} tower of backbone '{backbone.name}' has no blocks of CLIP")
                found += top.transformer.resblocks
        return found


class _Experts(nn.Module):
    """The experts of one block under one name, and the gate between them."""

    #: No token of a batch may choose an expert: it has no gradient then.
    may_idle = True

    def __init__(self, count: int, k: int, rank: int, width: int) -> None:
        super().__init__()
        self.k = k
        self.gate = nn.Linear(width, count, bias=False)
        self.down = nn.ModuleList(nn.Linear(width, rank) for _ in range(count))
        self.up = nn.ModuleList(nn.Linear(rank, width) for _ in range(count))
        for layer in self.up:
            nn.init.zeros_(layer.weight)  # type: ignore[arg-type]
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, h: Tensor) -> tuple[Tensor, Tensor]:
        """What the experts add to (N, W) tokens, and the gates (N, experts)."""
        best, chosen = self.gate(h).topk(self.k, dim=-1)
        gates = torch.zeros(len(h), len(self.down), dtype=best.dtype, device=h.device)
        gates = gates.scatter(1, chosen, best.softmax(dim=-1))
        out = torch.zeros_like(h)
        for e, (down, up) in enumerate(zip(self.down, self.up, strict=True)):
            if not torch.is_grad_enabled():
                # Of all tokens: a product of fewer rows rounds otherwise, and what is kept of an item must
                # not depend on its company.
                out = out + gates[:, e, None] * up(torch.relu(down(h)))
                continue
            rows = (chosen == e).any(dim=1).nonzero()[:, 0]
            if len(rows):
                made = up(torch.relu(down(h[rows])))
                out = out.index_add(0, rows, (gates[rows, e, None] * made).to(out.dtype))
        return out, gates


class _Mixture(nn.Module):
    """The MLP of a block, and beside it the experts of the adapter in use."""

    def __init__(self, base: nn.Module, state: _State) -> None:
        super().__init__()
        self.base, self.experts, self.state = base, nn.ModuleDict(), state

    def forward(self, h: Tensor) -> Tensor:
        out: Tensor = self.base(h)
        name = self.state.active or ""
        if name not in self.experts:
            return out
        more, gates = self.experts[name](h.flatten(0, -2))
        if self.training and torch.is_grad_enabled():
            self.state.gates.append(gates)
        added: Tensor = more.view_as(out)
        return out + added


class _State(AdapterState):
    """Mixtures around the MLPs, and the gates of the training step that is being made."""

    def __init__(self) -> None:
        super().__init__()
        self.gates: list[Tensor] = []

    def base_key(self, key: str) -> str:
        return key.replace(".mlp.base.", ".mlp.")

    def in_use(self, module: nn.Module) -> tuple[nn.Module, frozenset[str]]:
        if not isinstance(module, _Mixture):
            return module, frozenset()
        if (self.active or "") not in module.experts:
            return module.base, frozenset()
        return module, frozenset(name for name in module.experts if name != self.active)

    def knows(self, module: nn.Module) -> bool:
        return isinstance(module, _Mixture)

    def begin(self) -> None:
        self.gates.clear()

    def terms(self, batch: Any, outputs: Any) -> dict[str, Tensor]:
        """``balance``: how unevenly the experts are used, the mean over the blocks that ran."""
        weight = self.installed[self.active]["options"]["balance"] if self.active else 0.0
        gates, self.gates = self.gates, []
        if not weight or not gates:
            return {}
        return {"balance": weight * torch.stack([importance_variation(part) for part in gates]).mean()}
