"""Growth in depth: copies of a tower's blocks behind its own."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from torch import Tensor, nn

from clplat.config.space import Int
from clplat.errors import UserError
from clplat.mechanisms.growth import copied
from clplat.mechanisms.width_and_depth import identity_copy
from clplat.models.adapters import AdapterState
from clplat.models.backbone import Backbone
from clplat.models.names import refuse_wrapped
from clplat.models.stages import Tower
from clplat.parts.adapters._base import Adapter
from clplat.parts.adapters._blocks import transformer, which
from clplat.parts.adapters.full import Full

__all__ = ["Deeper"]


class Deeper(Adapter):
    """A tower of L blocks becomes one of ``factor * L``: behind its blocks stand copies of them, in order.

    With ``start="identity"`` the layers that write into the residual stream (``attn.out_proj``,
    ``mlp.c_proj``) are zero in the copies, so that the deeper model begins as the one that it grew from; what
    they read with is copied, so that their gradient is not zero. With ``"copy"`` the blocks are copied whole,
    as in the G_stack operator, which preserves no function and is trained on from there.

    Args:
        factor: how many times as many blocks.
        start: how a copied block begins.
        towers: one tower or both.
        base: train the weights of the towers that grow as well, as `Full`; there is no bare base then.

    Raises:
        ValueError: a factor below 2, another start or tower.

    References:
        Du et al., "Stacking Your Transformers: A Closer Look at Model Growth for Efficient LLM Pre-Training",
        NeurIPS 2024, arXiv:2405.15319 (copies); Bain et al., "Frozen in Time", ICCV 2021, arXiv:2104.00650
        (new attention that begins as nothing).

    Example:
        >>> from clplat.testing.tiny import tiny_backbone
        >>> backbone = tiny_backbone()
        >>> Deeper(factor=2, towers="image").attach(backbone)[0]
        'model.visual.transformer.resblocks.2.blocks.default.ln_1.weight'
        >>> backbone.image_layers
        4
    """

    mergeable = False
    without_effect = (r"\.k_proj\.bias$",)

    def __init__(
        self,
        factor: Annotated[int, Int(2, 4)] = 2,
        start: Literal["identity", "copy"] = "identity",
        towers: Literal["both", "image", "text"] = "both",
        base: bool = False,
    ) -> None:
        if factor < 2:
            raise ValueError(f"factor must be at least 2, not {factor}")
        if start not in ("identity", "copy") or towers not in ("both", "image", "text"):
            raise ValueError(
                f"start is '{start}' and towers '{towers}'; allowed: identity, copy; both, image, text"
            )
        self.factor, self.start, self.towers, self.base = factor, start, towers, base
        self.identity_at_init = start == "identity"  # type: ignore[misc]

    def attach(self, backbone: Backbone, name: str = "default") -> list[str]:
        """Append blocks under ``name`` and use them; those attached before are frozen.

        Raises:
            UserError: the name is taken, adapters of another kind are attached, or a tower is opaque.
        """
        refuse_wrapped(backbone.model)
        state = _State.around(backbone, name)
        trained = {id(p) for p in self._base(backbone)} if self.base else set()
        for tower in which(backbone, self.towers):
            trained |= {id(p) for p in self._append(backbone, tower, name, state)}
        options = {key: getattr(self, key) for key in ("factor", "start", "towers", "base")}
        state.add(name, "deeper", **options)
        _count(backbone)
        return [key for key, parameter in backbone.named_parameters() if id(parameter) in trained]

    def _base(self, backbone: Backbone) -> list[nn.Parameter]:
        return [backbone.get_parameter(key) for key in Full(self.towers).attach(backbone)]

    def _append(self, backbone: Backbone, tower: Tower, name: str, state: _State) -> list[nn.Parameter]:
        blocks: Any = transformer(backbone, tower).resblocks
        own = [block for block in blocks if not isinstance(block, Added)]
        added = [block for block in blocks if isinstance(block, Added)]
        added += [Added(state) for _ in range((self.factor - 1) * len(own) - len(added))]
        blocks.extend(added[len(blocks) - len(own) :])
        made: list[nn.Parameter] = []
        for i, place in enumerate(added[: (self.factor - 1) * len(own)]):
            place.blocks.requires_grad_(False)
            begin = identity_copy if self.start == "identity" else copied
            place.blocks[name] = block = begin(own[i % len(own)])
            made += block.parameters()
        return made

    def activate(self, backbone: Backbone, name: str | None) -> None:
        """Use the blocks ``name`` from now on, or with None those of the backbone alone."""
        if name is None and self.base:
            raise UserError(
                "with adapter.base the base weights are trained: there is no bare base to activate"
            )
        backbone.adapters.switch(name)
        _count(backbone)


class Added(nn.Module):
    """A place behind the blocks of a tower: the block of the adapter in use, or nothing."""

    def __init__(self, state: _State) -> None:
        super().__init__()
        self.state, self.blocks = state, nn.ModuleDict()

    @property
    def idle(self) -> bool:
        """Whether a pass goes by without it."""
        return (self.state.active or "") not in self.blocks

    def forward(self, x: Tensor, attn_mask: Tensor | None = None) -> Tensor:
        if self.idle:
            return x
        out: Tensor = self.blocks[self.state.active or ""](x, attn_mask=attn_mask)
        return out


class _State(AdapterState):
    """What is behind the blocks of the towers."""

    def in_use(self, module: nn.Module) -> tuple[nn.Module, frozenset[str]]:
        if not isinstance(module, Added):
            return module, frozenset()
        return module, frozenset(name for name in module.blocks if name != self.active)

    def knows(self, module: nn.Module) -> bool:
        return isinstance(module, Added)


def _count(backbone: Backbone) -> None:
    """The numbers of blocks that a pass goes through, which are those of the states."""
    for tower in ("image", "text"):
        if getattr(backbone, f"{tower}_layers") is not None:
            blocks = transformer(backbone, tower).resblocks
            setattr(backbone, f"{tower}_layers", sum(not getattr(block, "idle", False) for block in blocks))
