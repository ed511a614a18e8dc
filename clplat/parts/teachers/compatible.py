"""Compatible: a slow copy of the model that keeps near the one before this domain."""

from __future__ import annotations

from typing import Annotated, Any

import torch

from clplat.config.space import Float
from clplat.mechanisms.teacher import Predicts, Teacher
from clplat.parts.teachers._base import TeacherPart

__all__ = ["Compatible"]


class Compatible(TeacherPart):
    """A momentum model that absorbs the model and the one before this domain alike, as CTP's.

    ``t <- decay t + (1 - decay) / 2 theta + (1 - decay) / 2 theta_previous`` after each step; with each
    domain it begins again at the model.

    Args:
        decay: how slowly.

    References:
        Zhu et al. 2023 (CTP), Towards Vision-Language Continual Pretraining via Compatible Momentum Contrast
        and Topology Preservation, arXiv 2308.07146.

    Example:
        >>> Compatible(decay=0.9).moves
        True
    """

    moves = True

    def __init__(self, decay: Annotated[float, Float(0.5, 0.999)] = 0.9) -> None:
        if not 0 <= decay <= 1:
            raise ValueError(f"decay must lie in [0, 1], not {decay}")
        self.decay = decay
        self._held, self._before = Teacher(which="momentum"), Teacher(which="previous")

    def begin(self, learner: Predicts) -> None:
        self._held = Teacher(which="momentum")
        super().begin(learner)
        self._before.update(learner.model, learner.pretrained)

    @torch.no_grad()
    def follow(self, learner: Predicts) -> None:
        half = (1 - self.decay) / 2
        # The second of two moves shrinks the first, which is larger by as much.
        self._held.absorb(learner.model, half / (1 - half))
        own, before = self._held.tensors or {}, self._before.tensors or {}
        for name, tensor in before.items():
            if tensor.is_floating_point() and own[name].shape == tensor.shape:
                own[name].lerp_(tensor.to(own[name].device), half)

    def bytes(self) -> int:
        return self._held.bytes() + self._before.bytes()

    def state_dict(self) -> dict[str, Any]:
        return {"held": self._held.state_dict(), "before": self._before.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._held.load_state_dict(state["held"])
        self._before.load_state_dict(state["before"])
