"""How much of a tower is frozen right now: what lies below the cut is computed once and kept."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from clplat.cache.content import content_digest, content_of, is_stochastic, is_stochastic_now
from clplat.cache.unseen import altered, modules_of, unseen
from clplat.models.backbone import Backbone
from clplat.models.features import ImageFeatures, TextFeatures
from clplat.models.frozen import weights_are_fixed
from clplat.models.stages import Tower, around, stages, strays

__all__ = ["Cut", "TowerCuts"]


@dataclass(frozen=True)
class Cut:
    """A cut through a tower: the output of its first ``blocks``, or what all of it gives: one row an item.

    ``content`` names what is below the cut: equal digests compute the same. Rows of ``pooled`` features are
    kept in one table, ``states`` in another.
    """

    blocks: int
    pooled: bool
    content: str
    states: bool = False

    @property
    def whole(self) -> bool:
        """Everything is below it: a row is a result of the tower, not the input of a block."""
        return self.pooled or self.states

    def row(self, found: ImageFeatures | TextFeatures) -> Tensor:
        """What this cut keeps of these features."""
        return found.pooled if self.pooled else cast(Tensor, found.states)

    def __str__(self) -> str:
        return "states" if self.states else "pooled" if self.pooled else f"block {self.blocks}"


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

    def __init__(self, backbone: Backbone, tower: Tower, bare: bool = False) -> None:
        self.backbone, self.tower, self.bare = backbone, tower, bare
        self._structure: object = None
        self._hooks = -1
        self._unseen: list[str] = []
        self._stages: list[_Stage] = []
        self._below: dict[int, list[Tensor]] = {}
        self._digests: dict[object, str] = {}

    def refresh(self) -> None:
        """Look at every module and tensor again."""
        self._structure = None

    def cuts(self, wants: frozenset[str]) -> list[Cut]:
        """The cuts that together hold these wants: behind the whole tower, or the deepest one below that."""
        found = self.cut(wants)
        if found is None or not found.pooled:
            return [] if found is None else [found]
        states = replace(found, pooled=False, states=True)
        return [cut for cut in (found, states) if str(cut) in wants] or [found]

    def cut(self, wants: frozenset[str]) -> Cut | None:
        """The deepest cut below which nothing can change; None where there is none.

        Args:
            wants: what is asked of the tower, see `clplat.models.features.WANTS`. Tokens are not kept, but
                what the last block puts out is; the output of every block is not, and states are kept of
                towers that are frozen as a whole.
        """
        prompt = self.backbone.image_prompt if self.tower == "image" else self.backbone.text_prompt
        prompt = None if self.bare else prompt
        if self.unseen or "hidden" in wants:
            return None
        frozen, other = self._frozen_stages(), prompt is not None and prompt.reads_other
        if frozen == len(self._stages) and not ({"tokens", "sets"} & wants or other):
            return Cut(0, True, self._content(frozen))
        blocks = len(self._stages) - 2  # an entry, the blocks, an exit; -1 for an opaque tower
        split = min(frozen - 1, blocks if "tokens" in wants else blocks - 1)
        if prompt is not None:
            split = min(split, prompt.lowest)
        if split < 1 or "states" in wants:
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
            self._stages = [self._stage(parts) for parts in stages(backbone, self.tower, self.bare)]
        self._structure, self._hooks = structure, hooks
        inside = [module for stage in self._stages for module in stage.modules]
        outside = [said for name, module in around(backbone, self.tower) for said in altered(name, module)]
        self._unseen = list(
            dict.fromkeys([*unseen(inside, adapters), *outside, *strays(backbone, self.tower)])
        )

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
        content = None
        if count not in self._below:
            content = self._walked(count)
            self._below[count] = [node for _, node in content if isinstance(node, Tensor)]
        state = (count, *map(self.backbone.hashes.state, self._below[count]))
        if state not in self._digests:
            self._digests[state] = content_digest(content or self._walked(count), self.backbone.hashes)
        return self._digests[state]

    def _walked(self, count: int) -> list[tuple[str, Tensor | str]]:
        parts = [part for stage in self._stages[:count] for part in stage.parts]
        return content_of(parts, self.backbone.adapters)
