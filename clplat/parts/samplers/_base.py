"""The contract of a sampler: which examples make a batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from clplat.data.items import Item
from clplat.data.records import Example

__all__ = ["Embed", "Sampler"]

#: Items -> their embeddings (N, D) by the model as it is now, without gradients.
Embed = Callable[[Sequence[Item]], Tensor]


class Sampler:
    """Chooses the batches of every pass over an experience's data, and with them the in-batch negatives.

    The constructor is the configuration.
    """

    #: It looks at embeddings: its batches are kept in checkpoints, since a resumed run has other weights, and
    #: what it computes counts as training.
    looks: ClassVar[bool] = False
    #: A pass has every example once.
    covers: ClassVar[bool] = True

    def batches(
        self, examples: Sequence[Example], size: int, draw: torch.Generator, embed: Embed
    ) -> list[list[int]]:
        """Positions of the examples of each batch of one pass, in the order of training.

        Args:
            examples: of the experience.
            size: examples per batch; a batch may have one more, so that none stands alone without negatives.
            draw: all randomness; another one at every pass.
            embed: what the model makes of items, if it ``looks``.
        """
        raise NotImplementedError
