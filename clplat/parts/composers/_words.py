"""The words of texts, for composers that read them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize

from clplat.errors import UserError
from clplat.models.features import TextFeatures
from clplat.models.view import Towers

__all__ = ["texts_embedded", "words_of"]


def words_of(text: TextFeatures, who: str) -> list[str]:
    """The texts themselves.

    Args:
        who: reads them, for the error.

    Raises:
        UserError: they are known by their ids alone.
    """
    if text.input_ids is not None:
        ids = [" ".join(map(str, row)) for row in text.input_ids.tolist()]
        if any(row.startswith(said) and said for row, said in zip(ids, text.texts, strict=True)):
            raise UserError(
                f"{who} reads words, and these texts are known by their ids alone: give `Texts` with `said`"
            )
    return text.texts


def texts_embedded(towers: Towers, texts: Sequence[Sequence[str]]) -> tuple[Tensor, Tensor]:
    """Unit rows (N, D) of the texts of each item, one after the other, and whose each is (N,).

    A text that several have is embedded once.
    """
    distinct = {text: i for i, text in enumerate(dict.fromkeys(text for own in texts for text in own))}
    found = normalize(towers.text(list(distinct)).pooled, dim=-1)
    owners = [owner for owner, own in enumerate(texts) for _ in own]
    places = [distinct[text] for own in texts for text in own]
    return found[places], torch.tensor(owners, device=found.device)
