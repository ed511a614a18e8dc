"""Pictures that answer carry their captions."""

from __future__ import annotations

from dataclasses import replace

import torch

from clplat.data.records import Candidate, Example, Item
from clplat.parts.transforms._base import Transform

__all__ = ["Captioned"]


class Captioned(Transform):
    """Every candidate with a caption becomes an item of both, picture and caption, which the composer joins.

    The query stays as it is. A candidate without a caption stays a picture.

    Reference:
        Arora et al., "Linking Representations with Multimodal Contrastive Learning", 2023, arXiv:2304.03464.

    Example:
        >>> from clplat.testing import tiny_domains
        >>> Captioned()(tiny_domains()[0].train[0], torch.Generator()).target.text
        'a green square'
    """

    def __call__(self, example: Example, draw: torch.Generator) -> Example:
        negatives = tuple(
            Candidate(_captioned(one.item), one.label, one.kind, one.scope) for one in example.negatives
        )
        return replace(example, target=_captioned(example.target), negatives=negatives)


def _captioned(item: Item) -> Item:
    picture = item.picture
    return item if picture is None or not picture.caption else Item.of(picture, picture.caption)
