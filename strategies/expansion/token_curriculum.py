"""A curriculum of input tokens: pictures are first trained on by a few of their patches, later by all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from clplat.errors import UserError
from clplat.retriever import ComposedRetriever
from clplat.training.phases import Phase
from clplat.training.strategy import Strategy, SupportsLearning

__all__ = ["TokenCurriculum"]


class TokenCurriculum(Strategy):
    """Stages of an experience in which more and more of the input is attended to.

    In a stage a share of each picture's patches, evenly spread, goes through the image tower, in training
    alone; a stage costs about as much less. What is evaluated sees everything.

    Args:
        patches: the share of them, one for each stage.
        epochs: of a stage; ``train.epochs`` unless given.

    Raises:
        ValueError: no stage, or a share that is not in (0, 1].

    References:
        Bain et al., "Frozen in Time: A Joint Video and Image Encoder for End-to-End Retrieval", ICCV 2021,
        arXiv 2104.00650, whose stages have more and more frames of a video.

    Needs:
        A `ComposedRetriever` with a vision transformer of CLIP. Frozen towers keep all of their tokens.

    Example:
        >>> [phase.name for phase in TokenCurriculum(patches=[0.25, 1.0]).phases(None)]
        ['0.25 of the patches', '1.0 of the patches']
    """

    any_module = False
    state = ("_share",)

    def __init__(self, patches: Sequence[float] = (0.5, 1.0), epochs: int | None = None) -> None:
        if not patches or not all(0 < share <= 1 for share in patches) or len({*patches}) < len(patches):
            raise ValueError(f"patches must be different numbers in (0, 1], not {list(patches)}")
        self.patches, self.epochs = patches, epochs
        self._share = 1.0

    def phases(self, experience: Any) -> Sequence[Phase]:
        return [Phase(f"{float(share)} of the patches", self.epochs) for share in self.patches]

    def before_epoch(self, learner: SupportsLearning) -> None:
        share, _, rest = learner.progress.phase.partition(" ")
        self._show(learner, float(share) if rest else 1.0)

    def after_experience(self, learner: SupportsLearning, experience: Any) -> None:
        self._show(learner, 1.0)

    def rebuild(self, learner: SupportsLearning) -> None:
        self._show(learner, self._share)

    def _show(self, learner: SupportsLearning, share: float) -> None:
        model = learner.model
        if not isinstance(model, ComposedRetriever) or model.backbone.image_layers is None:
            raise UserError("token_curriculum needs a ComposedRetriever with a vision transformer of CLIP")
        visual, before = model.backbone.model.visual, self._share
        self._share = share
        share = share if any(p.requires_grad for p in visual.parameters()) else 1.0
        if share != before or (share < 1) != isinstance(visual.patch_dropout, _EvenPatches):
            made = _EvenPatches(share) if share < 1 else nn.Identity()
            visual.patch_dropout = made.train(visual.training)
            if model.cache is not None:
                model.cache.refresh()


class _EvenPatches(nn.Module):
    """The first token of (B, 1 + N, W) and an evenly spread share of the others, wherever gradients are on.

    Nothing is drawn, and modes do not matter, which loops set differently: any trains on the same patches.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.prob = 1 - share  # as of open_clip's module for dropped patches: what is trained is not kept

    def forward(self, x: Tensor) -> Tensor:
        if not torch.is_grad_enabled():
            return x
        patches = x.shape[1] - 1
        count = max(1, round((1 - self.prob) * patches))
        rows = 1 + torch.arange(count, device=x.device) * patches // count
        return torch.cat([x[:, :1], x[:, rows]], dim=1)
