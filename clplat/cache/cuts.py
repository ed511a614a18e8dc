"""How much of a tower is frozen right now: what lies below the cut is computed once and kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from clplat.cache.content import content_digest, is_stochastic, is_stochastic_now, tensors_of
from clplat.cache.unseen import altered, modules_of, unseen
from clplat.models.backbone import Backbone
from clplat.models.frozen import weights_are_fixed

__all__ = ["Cut", "TowerCuts"]


@dataclass(frozen=True)
class Cut:
    """A cut through a tower: the output of its first ``blocks``, or the pooled features.

    ``content`` names what is below the cut: equal digests compute the same.
    """

    blocks: int
    pooled: bool
    content: str

    def __str__(self) -> str:
        return "pooled" if self.pooled else f"block {self.blocks}"


@dataclass
class _Stage:
    parts: list[tuple[str, nn.Module | Tensor]]
    modules: list[tuple[str, nn.Module]]
    tensors: list[Tensor]
    stochastic: list[nn.Module]


class TowerCuts:
    """Finds the deepest cut of one tower at every call, from what requires gradients and what is in training.

    Nothing is declared: a strategy that grows, freezes or merges moves the cut. Changes of a tensor are
    seen by its place and version; `refresh` also sees new modules, and what was written behind autograd's
    back (``weight.data.add_()``, as PEFT merges). Training and evaluation call it whenever they begin.

    A tower that does what its modules and tensors do not tell (a hook, a closure, a replaced method) has no
    cut: nothing of it can be kept. `unseen` says what it is.
    """

    def __init__(self, backbone: Backbone, tower: Literal["image", "text"]) -> None:
        self.backbone, self.tower = backbone, tower
        self._structure: object = None
        self._hooks = -1
        self._unseen: list[str] = []
        self._stages: list[_Stage] = []
        self._below: dict[int, list[Tensor]] = {}
        self._digests: dict[object, str] = {}

    def refresh(self) -> None:
        """Look at every module and tensor again."""
        self._structure = None

    def cut(self, tokens: bool) -> Cut | None:
        """The deepest cut below which nothing can change; None where there is none.

        Args:
            tokens: the tower's tokens are wanted, not only what it pools from them.
        """
        if self.unseen:
            return None
        frozen = self._frozen_stages()
        blocks = len(self._stages) - 2  # an entry, the blocks, an exit; -1 for an opaque tower
        if frozen == len(self._stages) and not tokens:
            return Cut(0, True, self._content(frozen))
        split = min(frozen - 1, blocks if tokens else blocks - 1)
        prompt = self.backbone.image_prompt if self.tower == "image" else self.backbone.text_prompt
        if split < 1 or prompt is not None:
            return None
        return Cut(split, False, self._content(split + 1))

    @property
    def unseen(self) -> list[str]:
        """What of this tower cannot be seen, in words: see `clplat.cache.unseen`."""
        self._look()
        return self._unseen

    def is_stochastic_now(self) -> bool:
        """Whether some part now gives different results for equal inputs, or in other batches."""
        if self.unseen:
            return True
        modules = [module for stage in self._stages for module in stage.stochastic]
        return any(is_stochastic_now(module, self.backbone.adapters) for module in modules)

    def _look(self) -> None:
        backbone = self.backbone
        prompts = (id(backbone.image_prompt), id(backbone.text_prompt))
        adapters = backbone.adapters
        structure = (adapters.active, tuple(adapters.installed), prompts)
        hooks = RemovableHandle.next_id  # counts every hook of any module
        if structure == self._structure and hooks == self._hooks:
            return
        if structure != self._structure:
            self._below.clear()
            self._digests.clear()
            self._stages = [self._stage(parts) for parts in backbone.stages(self.tower)]
        self._structure, self._hooks = structure, hooks
        inside = [module for stage in self._stages for module in stage.modules]
        around = [said for name, module in backbone.around(self.tower) for said in altered(name, module)]
        self._unseen = list(dict.fromkeys([*unseen(inside, adapters), *around, *backbone.strays(self.tower)]))

    def _stage(self, parts: list[tuple[str, nn.Module | Tensor]]) -> _Stage:
        modules = [
            found for name, part in parts if isinstance(part, nn.Module) for found in modules_of(name, part)
        ]
        tensors: list[Tensor] = [t for _, m in modules for t in m.parameters(recurse=False)]
        tensors += [part for _, part in parts if isinstance(part, Tensor)]
        stochastic = [m for _, m in modules if is_stochastic(m, self.backbone.adapters)]
        return _Stage(parts, modules, tensors, stochastic)

    def _frozen_stages(self) -> int:
        """How many stages, from the bottom, compute the same until they are changed."""
        fixed = weights_are_fixed() and not torch.is_grad_enabled()
        for count, stage in enumerate(self._stages):
            if any(is_stochastic_now(module, self.backbone.adapters) for module in stage.stochastic):
                return count
            if not fixed and any(tensor.requires_grad for tensor in stage.tensors):
                return count
        return len(self._stages)

    def _content(self, count: int) -> str:
        if count not in self._below:
            parts = [part for stage in self._stages[:count] for part in stage.parts]
            self._below[count] = tensors_of(parts, self.backbone.adapters)
        state = (count, *map(self.backbone.hashes.state, self._below[count]))
        if state not in self._digests:
            parts = [part for stage in self._stages[:count] for part in stage.parts]
            self._digests[state] = content_digest(parts, self.backbone.hashes, self.backbone.adapters)
        return self._digests[state]
