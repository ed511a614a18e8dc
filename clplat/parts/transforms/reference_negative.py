"""The reference picture as a negative of its own query."""

from __future__ import annotations

from dataclasses import replace

import torch

from clplat.data.records import Candidate, Example, Item
from clplat.parts.transforms._base import Transform

__all__ = ["ReferenceNegative"]


class ReferenceNegative(Transform):
    """Adds the picture that a query modifies as a wrong answer to that query, so that its words count.

    Other queries do not see it. A query without a picture stays as it is, and so does one whose answer is the
    same picture.

    Args:
        caption: the reference's caption in its place, where it has one that the target does not share.

    Reference:
        Zhang et al., "MagicLens: Self-Supervised Image Retrieval with Open-Ended Instructions", ICML 2024,
        arXiv:2403.19651; Zhong et al., "Compositional Image Retrieval via Instruction-Aware Contrastive
        Learning" (InstructCIR), 2024, arXiv:2412.05756, with captions.

    Example:
        >>> from clplat.testing import tiny_domains
        >>> [one.kind for one in ReferenceNegative()(tiny_domains()[0].train[0], torch.Generator()).negatives]
        ['reference']
    """

    def __init__(self, caption: bool = False) -> None:
        self.caption = caption

    def __call__(self, example: Example, draw: torch.Generator) -> Example:
        shown, answer = example.query.picture, example.target.picture
        if shown is None or (answer is not None and answer.key == shown.key):
            return example
        wrong = Item.of(shown)
        if self.caption:
            if not shown.caption or (answer is not None and answer.caption == shown.caption):
                return example
            wrong = Item.of(text=shown.caption)
        # No label of the stream: pictures of equal labels answer each other.
        negative = Candidate(wrong, f"{example.id} unchanged", "reference", "anchor")
        return replace(example, negatives=(*example.negatives, negative))
