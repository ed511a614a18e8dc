"""Text space: what a picture shows in words, and what it would show after a change."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from torch import nn

from clplat.data.text_table import TextTable
from clplat.errors import UserError
from clplat.mechanisms.rewriting import rewritings

__all__ = ["TextSpace", "spaces_of"]


class TextSpace:
    """Captions and rewritten captions: from a table, or the offline stand-in.

    The stand-in takes the captions that the stream itself has, which are true of the picture, and rewrites
    them by rules: what a perfect captioner and a simple rewriter would give. It needs neither file nor model.

    Args:
        path: of a table (`clplat.data.text_table`); "" for the stand-in.
        number: how many rewritten captions are used of those that there are; 0: all of a table, one of the
            stand-in.

    Raises:
        ValueError: no such file, or no table; a negative number.

    Example:
        >>> TextSpace().rewritten(["bag.jpg"], ["a red bag"], ["is blue"])
        [('a blue bag',)]
    """

    def __init__(self, path: str = "", number: int = 0) -> None:
        if number < 0:
            raise ValueError(f"the number of texts must be at least 0, not {number}")
        try:
            self.table = TextTable.read(path) if path else None
        except UserError as error:
            raise ValueError(str(error)) from error
        self.number = number

    def captions(self, keys: Sequence[str], captions: Sequence[str]) -> list[tuple[str, ...]]:
        """The captions of each picture.

        Args:
            keys: names of the pictures.
            captions: those that came with them, "" for none.

        Raises:
            UserError: a picture without one.
        """
        if self.table is not None:
            return [self._some(self.table.texts(key)) for key in keys]
        return [(_there(key, caption),) for key, caption in zip(keys, captions, strict=True)]

    def rewritten(
        self, keys: Sequence[str], captions: Sequence[str], texts: Sequence[str]
    ) -> list[tuple[str, ...]]:
        """The captions of each picture after the change that its text asks for; those it has for "".

        Raises:
            UserError: a picture without one.
        """
        if self.table is None:
            number = max(1, self.number)
            said = zip(keys, captions, texts, strict=True)
            return [rewritings(_there(key, caption), text, number) for key, caption, text in said]
        return [self._some(self.table.texts(key, text)) for key, text in zip(keys, texts, strict=True)]

    def _some(self, texts: tuple[str, ...]) -> tuple[str, ...]:
        return texts[: self.number] if self.number else texts

    def said(self) -> dict[str, Any]:
        """What it reads, for results: of a table its fingerprint, counts, and how it was made."""
        return {"fingerprint": "stand-in"} if self.table is None else self.table.said()


def _there(key: str, caption: str) -> str:
    if not caption:
        raise UserError(
            f"picture '{key}' has no caption, which the texts are made of: name a table of texts "
            "(`clplat texts write` makes one)"
        )
    return caption


def spaces_of(*parts: Any) -> Iterator[TextSpace]:
    """The text spaces that parts of an experiment read, themselves or a part inside them."""
    for part in parts:
        # Parts that are several in one list them; of others ``parts`` may be a number or a method.
        listed = several if isinstance(several := getattr(part, "parts", None), list | tuple) else ()
        inside = part.modules() if isinstance(part, nn.Module) else [part, *listed]
        spaces = (getattr(one, "space", None) for one in inside)
        yield from (space for space in spaces if isinstance(space, TextSpace))
