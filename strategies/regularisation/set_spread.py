"""Set spread: what the pictures of one example do not share is kept apart by the image tower."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from torch import Tensor

from clplat.config.space import Float
from clplat.errors import UserError
from clplat.retriever import ComposedRetriever
from clplat.training.strategy import Strategy, SupportsLearning

__all__ = ["SetSpread", "spread_penalty"]


class SetSpread(Strategy):
    """Rewards features of the pictures of a set for differing from each other, as EZ-CLIP's motion loss.

    ``loss = weight * mean 1 / (1 + C + V)``, with C the mean absolute central difference along the set and V
    its mean variance, of features of the image tower as they are, not normalised. The set of an example is
    its reference and its target, which a change tells apart: prompts that all pictures share then carry the
    change, and what both pictures show is left to the frozen tower. It says nothing of what is right, so that
    the task's loss stays beside it. An example without both pictures has no set.

    Args:
        weight: of the term.

    Raises:
        ValueError: a weight below 0.

    References:
        Ahmad et al. 2023 (EZ-CLIP), EZ-CLIP: Efficient Zeroshot Video Action Recognition, arXiv 2312.08010,
        whose sets are the frames of a video.

    Needs:
        A `ComposedRetriever`. A step costs another pass of both pictures.

    Example:
        >>> SetSpread(weight=0.5).terms
        ('set_spread',)
    """

    any_module = False
    terms = ("set_spread",)

    def __init__(self, weight: Annotated[float, Float(0.01, 1.0, log=True)] = 0.1) -> None:
        if not weight >= 0:
            raise ValueError(f"weight must be at least 0, not {weight}")
        self.weight = weight

    def loss(self, learner: SupportsLearning, batch: Any, outputs: Any) -> dict[str, Tensor]:
        model = learner.model
        if not isinstance(model, ComposedRetriever):
            raise UserError("set_spread needs a ComposedRetriever as the model: it looks at its image tower")
        count, shown = len(batch), batch.picture_rows
        pairs = [(shown[i], shown[count + i]) for i in range(count) if min(shown[i], shown[count + i]) >= 0]
        if not pairs:
            return {"set_spread": 0.0 * outputs.query.sum()}
        rows = [row for pair in pairs for row in pair]
        found = model.image_features(batch.pictures.part(rows)).pooled
        return {"set_spread": self.weight * spread_penalty(found.view(len(pairs), 2, -1))}


def spread_penalty(sets: Tensor) -> Tensor:
    """``mean 1 / (1 + C + V)`` of sets (N, T, D), T >= 2: 1 where all members are equal, less as they differ.

    Ends of a set stand for the neighbours that they have not.

    Example:
        >>> spread_penalty(torch.tensor([[[1.0, 1.0], [1.0, 1.0]], [[0.0, 0.0], [2.0, 2.0]]]))
        tensor(0.6250)
    """
    before, after = (torch.cat(ends, dim=1) for ends in _shifted(sets))
    central = ((after - before).abs() / 2).mean(dim=(1, 2))
    penalty: Tensor = (1 / (1 + central + sets.var(dim=1).mean(dim=1))).mean()
    return penalty


def _shifted(sets: Tensor) -> list[list[Tensor]]:
    return [[sets[:, :1], sets[:, :-1]], [sets[:, 1:], sets[:, -1:]]]
