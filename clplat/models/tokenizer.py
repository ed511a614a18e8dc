"""Texts to token ids, remembered: a training text comes back every epoch."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, partial
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from clplat.errors import UserError
from clplat.extras import named_extras
from clplat.models.hugging_face.words import FOLDER

__all__ = ["Tokenizer"]


class Tokenizer:
    """The tokenizer of a CLIP model; made at its first use, and shared by all that are equal.

    Args:
        source: what ``open_clip.get_tokenizer`` takes; ``transformers:<folder>``; empty for CLIP's byte
            pairs.
        context_length: tokens of a row.

    Example:
        >>> Tokenizer("", 6).ids(["a red shoe"]).tolist()
        [[49406, 320, 736, 7342, 49407, 0]]
    """

    def __init__(self, source: str, context_length: int) -> None:
        self.source, self.context_length = source, context_length

    def ids(self, texts: Sequence[str]) -> Tensor:
        """Token ids (B, context_length), int64, padded; longer texts are cut."""
        if not texts:
            return torch.zeros(0, self.context_length, dtype=torch.int64)
        return torch.stack([_ids(self.source, self.context_length, text) for text in texts])

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, its special ones included, however long."""
        tokenizer = _tokenizer(self.source, self.context_length)
        if hasattr(tokenizer, "tokenizer"):  # a Hugging Face one, which counts its special tokens itself
            return [len(ids) for ids in tokenizer.tokenizer(list(texts))["input_ids"]] if texts else []
        apart = partial(_apart, self.source, self.context_length)
        encoded = partial(_encoded, self.source, self.context_length)
        parts = [apart(text) for text in texts]
        counts = {part: len(encoded(part)) for part in set(chain.from_iterable(parts))}
        return [sum(map(counts.__getitem__, some)) + 2 for some in parts]

    def surely_fits(self, text: str, room: int) -> bool:
        """Whether the text has no more tokens than these, told from its letters: nothing is tokenised.

        A byte pair takes a letter at least, and plain letters without HTML's ``&`` stay as many.
        """
        plain = len(text) + 2 <= room and text.isascii() and "&" not in text
        return plain and _by_words(self.source, self.context_length)

    def save(self, folder: Path) -> None:
        """Write a Hugging Face tokenizer into a model's folder."""
        _tokenizer(self.source, self.context_length).save_pretrained(folder)


@lru_cache(maxsize=1 << 17)
def _ids(source: str, context_length: int, text: str) -> Tensor:
    tokenizer = _tokenizer(source, context_length)
    if not _by_words(source, context_length):
        ids: Tensor = tokenizer([text], context_length=context_length)
        return ids[0].to(torch.int64)
    parts = (_encoded(source, context_length, part) for part in _apart(source, context_length, text))
    inside = [tokenizer.sot_token_id, *chain.from_iterable(parts)][: context_length - 1]
    row = torch.zeros(context_length, dtype=torch.int64)
    row[: len(inside) + 1] = torch.tensor([*inside, tokenizer.eot_token_id])
    return row


def _apart(source: str, context_length: int, text: str) -> list[str]:
    """The words of a text where each has the tokens that it has alone, otherwise the text as it is.

    Before it is cut into words a text is mended: escapes of HTML, letters of other sets.
    """
    plain = text.isascii() and text.isprintable() and "&" not in text
    return text.split() if plain and _by_words(source, context_length) else [text]


@lru_cache(maxsize=8)
def _by_words(source: str, context_length: int) -> bool:
    """Whether these are CLIP's byte pairs: none goes beyond a word, and each takes a letter at least."""
    from open_clip import SimpleTokenizer

    tokenizer = _tokenizer(source, context_length)
    return type(tokenizer) is SimpleTokenizer and tokenizer.reduction_fn is None


@lru_cache(maxsize=1 << 17)  # byte pairs take 0.1 ms to find
def _encoded(source: str, context_length: int, text: str) -> tuple[int, ...]:
    return tuple(_tokenizer(source, context_length).encode(text))


@lru_cache(maxsize=8)  # building one takes 0.1 s, and copies of a backbone share it
def _tokenizer(source: str, context_length: int) -> Any:
    import open_clip

    if not source:
        return open_clip.SimpleTokenizer(context_length=context_length)
    if source.startswith(FOLDER):
        return _of_folder(source.removeprefix(FOLDER), context_length)
    return open_clip.get_tokenizer(source, context_length=context_length)


def _of_folder(folder: str, context_length: int) -> Any:
    from open_clip.tokenizer import HFTokenizer

    with named_extras("the tokenizer of this model"):
        try:
            return HFTokenizer(folder, context_length=context_length)
        except (OSError, ValueError, KeyError) as error:
            said = " ".join(str(error).split())[:200]
            raise UserError(f"{folder} has no tokenizer that transformers reads: {said}") from error
