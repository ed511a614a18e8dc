"""One of several texts that say the same, drawn anew at every moment of training."""

from __future__ import annotations

from dataclasses import replace

import torch

from clplat.data.records import Example, Item
from clplat.parts.transforms._base import Transform

__all__ = ["Phrasings"]


class Phrasings(Transform):
    """Draws the query's text from ``extra["phrasings"]``, each as likely; an example without stays as it is.

    Streams name further texts of a query there: the two captions of FashionIQ in both orders and alone, as
    CLIP4Cir trains on, or the wordings of a change. Empty ones are never drawn.

    Reference:
        Baldrati et al., "Composed Image Retrieval using Contrastive Learning and Task-oriented CLIP-based
        Features", ACM TOMM 2023, arXiv:2308.11485 (for FashionIQ).

    Example:
        >>> from clplat.testing import tiny_domains
        >>> example = replace(tiny_domains()[0].train[0], extra={"phrasings": ["in red", "red instead"]})
        >>> Phrasings()(example, torch.Generator().manual_seed(0)).text
        'in red'
    """

    def __call__(self, example: Example, draw: torch.Generator) -> Example:
        texts = [text for text in example.extra.get("phrasings", ()) if text.strip()]
        if not texts:
            return example
        text = texts[int(torch.randint(len(texts), (1,), generator=draw))]
        return replace(example, query=Item.of(example.query.picture, text))
