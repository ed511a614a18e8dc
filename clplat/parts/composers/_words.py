"""The words of texts, for composers that read them."""

from __future__ import annotations

from clplat.errors import UserError
from clplat.models.features import TextFeatures

__all__ = ["words_of"]


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
