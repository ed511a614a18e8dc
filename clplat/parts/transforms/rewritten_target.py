"""The rewritten caption as the answer: triplets without their target pictures."""

from __future__ import annotations

from dataclasses import replace

import torch

from clplat.data.records import Candidate, Example, Item
from clplat.errors import UserError
from clplat.mechanisms.text_space import TextSpace
from clplat.parts.transforms._base import Transform

__all__ = ["RewrittenTarget"]


class RewrittenTarget(Transform):
    """What the reference would show after the change, in words, answers in place of the target picture.

    The rewritten caption is of a table or of the offline stand-in, see `clplat.mechanisms.text_space`; of
    several one is drawn. Queries whose answers say the same answer each other. The reference's own caption is
    a wrong answer that every query of the batch sees; negatives that the example had are left out: pictures
    would stand among words. An example without picture or text in its query stays as it is.

    Args:
        texts: path of a table, `clplat texts write` makes one; empty: the stand-in.
        original: whether the reference's caption is a negative.

    Raises:
        ValueError: no such table; as a call, a picture without a caption.

    Reference:
        Jawade et al., "SCOT: Self-Supervised Contrastive Pretraining for Zero-Shot Compositional Retrieval",
        WACV 2025, arXiv:2501.08347.

    Example:
        >>> from clplat.testing import tiny_domains
        >>> made = RewrittenTarget()(tiny_domains()[0].train[0], torch.Generator())
        >>> made.target.text, [negative.item.text for negative in made.negatives]
        ('a green square', ['a red square'])
    """

    def __init__(self, texts: str = "", original: bool = True) -> None:
        self.texts, self.original = texts, original
        self.space = TextSpace(texts)

    def __call__(self, example: Example, draw: torch.Generator) -> Example:
        shown, text = example.query.picture, example.query.text
        if shown is None or not text:
            return example
        named = [shown.key], [shown.caption or ""]
        try:
            (after,), (before, *_) = self.space.rewritten(*named, [text]), self.space.captions(*named)
        except UserError as error:
            raise ValueError(str(error)) from error
        said = after[int(torch.randint(len(after), (1,), generator=draw))]
        wrong = [caption for caption in before if caption not in after][: int(self.original)]
        negatives = tuple(Candidate(caption, caption, "unchanged") for caption in wrong)
        return replace(example, target=Item.of(text=said), label=said, negatives=negatives)
