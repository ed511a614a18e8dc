"""Examples the other way round: the target asks and the query answers."""

from __future__ import annotations

from dataclasses import replace

import torch

from clplat.data.records import Example
from clplat.parts.transforms._base import Transform

__all__ = ["Turned"]


class Turned(Transform):
    """The target asks and the query answers, so that negatives may be made of what was the query.

    A composed query becomes a candidate and is composed as ever. With ``--transform turned,swapped_words`` a
    target is contrasted with its own change in words and with the same words in wrong places, which is
    NegCLIP's loss for composed retrieval; a symmetric loss contrasts the queries with the targets as before.
    Negatives that the example had were candidates of the query, and are left out.

    Reference:
        Yuksekgonul et al., "When and why vision-language models behave like bags-of-words, and what to do
        about it?", ICLR 2023, arXiv:2210.01936 (the loss, for pictures and captions).

    Example:
        >>> from clplat.testing import tiny_domains
        >>> Turned()(tiny_domains()[0].train[0], torch.Generator()).target.text
        'make it green'
    """

    def __call__(self, example: Example, draw: torch.Generator) -> Example:
        return replace(example, query=example.target, target=example.query, negatives=())
