"""Triplets that carry the captions of their pictures, for what is trained on words alone."""

from __future__ import annotations

from dataclasses import replace

import torch

from clplat.data.records import Example
from clplat.parts.transforms._base import Transform

__all__ = ["CaptionsBeside"]


class CaptionsBeside(Transform):
    """What is trained on stays; captions of the query's picture and of the answer's stand in ``extra``.

    They are ``extra["captions"]``, two strings, which a composer may train on beside the triplet
    (`clplat.mechanisms.word_tasks`).

    Reference:
        Gu et al., "Language-only Training of Zero-shot Composed Image Retrieval", CVPR 2024,
        arXiv:2312.01998.

    Example:
        >>> from clplat.testing import tiny_domains
        >>> CaptionsBeside()(tiny_domains()[0].train[0], torch.Generator()).extra["captions"]
        ['a red square', 'a green square']
    """

    def __call__(self, example: Example, draw: torch.Generator) -> Example:
        said = []
        for item in (example.query, example.target):
            if item.picture is None or item.picture.caption is None:
                raise ValueError(f"captions_beside needs captions; example '{example.id}' has not both")
            said.append(item.picture.caption)
        return replace(example, extra={**example.extra, "captions": said})
