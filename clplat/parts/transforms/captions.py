"""Triplets as pairs of a picture and its caption."""

from __future__ import annotations

from dataclasses import replace

import torch

from clplat.data.records import Candidate, Example, Item, Pair, Picture
from clplat.parts.transforms._base import Transform

__all__ = ["Captions"]


class Captions(Transform):
    """The target and its caption in place of a triplet, which is how CLIP itself is trained.

    The picture asks and the caption answers. Equal captions are right for each other's pictures. Further
    pictures of a triplet, such as near misses, become the negative texts that their captions are.

    Reference:
        Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", ICML 2021,
        arXiv:2103.00020.

    Example:
        >>> from clplat.testing import tiny_domains
        >>> Captions()(tiny_domains()[0].train[0], torch.Generator()).target.text
        'a green square'
    """

    def __call__(self, example: Example, draw: torch.Generator) -> Example:
        shown = example.target.picture
        if shown is None:
            raise ValueError(f"captions needs a picture as target; example '{example.id}' has none")
        others = [(n, n.item.picture) for n in example.negatives if n.item.picture is not None]
        negatives = [
            Candidate(picture.caption, picture.caption, negative.kind, negative.scope)
            for negative, picture in others
            if picture.caption is not None and picture.caption != shown.caption
        ]
        pair = Pair(example.id, shown, _caption(example, shown), example.domain, negatives=negatives)
        return replace(pair, groups=example.groups, extra=example.extra, weight=example.weight)


def _caption(example: Example, picture: Picture) -> Item:
    if picture.caption is None:
        raise ValueError(
            f"captions needs captions; picture '{picture.key}' of example '{example.id}' has none"
        )
    return Item.of(text=picture.caption)
