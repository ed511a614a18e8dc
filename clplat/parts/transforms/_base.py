"""The contract of a transform: an example of the stream -> the example that is trained on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch

from clplat.data.records import Example

__all__ = ["Several", "Transform", "target_text"]


class Transform:
    """Changes training examples as they are joined to a batch, wherever that happens.

    Batches, passes of strategies and memories all see what it made, so that a memory stores what was trained
    on. Queries and galleries of the evaluation are never touched. The constructor is the configuration.
    """

    #: It works on the target's text: of triplets, `captions` before it makes pairs that have one.
    needs_text: ClassVar[bool] = False

    def __call__(self, example: Example, draw: torch.Generator) -> Example:
        """The example in place of this one, of the same id and domain.

        Args:
            example: one of the stream, or what the transform before this one made of it.
            draw: all randomness; it depends on the seed, the example and the moment: an epoch, or when it is
                stored.

        Raises:
            ValueError: the example lacks what this needs.
        """
        raise NotImplementedError


def target_text(example: Example, transform: str) -> str:
    """The text of an example's target, for the transform of this name.

    Raises:
        ValueError: the target has none.
    """
    if example.target.text is None:
        raise ValueError(
            f"{transform} needs a text as target; example '{example.id}' has a picture "
            f"(captions and turned make such examples: --transform captions,{transform})"
        )
    return example.target.text


class Several(Transform):
    """Transforms one after another.

    Args:
        parts: in their order.
    """

    def __init__(self, parts: Sequence[Transform]) -> None:
        self.parts = parts

    def __call__(self, example: Example, draw: torch.Generator) -> Example:
        for part in self.parts:
            example = part(example, draw)
        return example
