"""Captions to pretrain on: a picture may have several, and one caption may be true of many pictures."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from clplat.data.records import Picture

__all__ = ["Captions"]


class Captions:
    """All captions of some pictures, of which one is drawn for each picture at every step.

    Args:
        pictures: with their captions; a picture that is listed several times has as many captions, and one
            that is listed with the same caption twice is shown with it twice as often.

    Attributes:
        texts: the distinct captions.

    Example:
        >>> shown = [Picture(key, None, text) for key, text in (("a", "red"), ("a", "bag"), ("b", "bag"))]
        >>> Captions(shown).draw([1, 1], torch.Generator().manual_seed(0))[1]
        tensor([[True, True],
                [True, True]])
    """

    def __init__(self, pictures: Sequence[Picture]) -> None:
        self.texts = list(dict.fromkeys(str(picture.caption) for picture in pictures))
        number = {text: i for i, text in enumerate(self.texts)}
        listed: dict[str, list[int]] = {}
        for picture in pictures:
            listed.setdefault(picture.key, []).append(number[str(picture.caption)])
        self._listed = list(listed.values())
        self._true = [frozenset(own) for own in self._listed]

    def __len__(self) -> int:
        """How many pictures."""
        return len(self._listed)

    def draw(self, rows: Sequence[int], draw: torch.Generator) -> tuple[Tensor, Tensor]:
        """One caption for each of these pictures, and which of them are true of which picture.

        Returns:
            Positions (B,) in ``texts``, and (B, B) bool: caption j is one of picture i.
        """
        places = torch.rand(len(rows), generator=draw).tolist()
        own = [self._listed[row] for row in rows]
        drawn = [some[int(place * len(some))] for some, place in zip(own, places, strict=True)]
        true = [[caption in self._true[row] for caption in drawn] for row in rows]
        return torch.tensor(drawn), torch.tensor(true)
