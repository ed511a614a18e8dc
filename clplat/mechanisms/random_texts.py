"""Texts of random tokens: what a text tower can be asked about where no text is at hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from clplat.data.inputs import Texts
from clplat.errors import UserError
from clplat.randomness import generator

__all__ = ["random_texts"]


class _Tokenizes(Protocol):
    """What is asked of a backbone."""

    context_length: int
    model_cfg: dict[str, Any]

    def tokenize(self, texts: Sequence[str]) -> Tensor: ...


def random_texts(backbone: _Tokenizes, count: int, length: int, seed: int) -> Texts:
    """So many texts of ``length`` tokens each, drawn from the tokenizer's whole vocabulary.

    Tokens that a text begins, ends and is padded with stand where they stand in any text, and nowhere else.

    Args:
        backbone: whose tokenizer and vocabulary are meant.
        count: texts.
        length: tokens of each between those at its ends.
        seed: of the draw.

    Raises:
        UserError: the context is too short.

    Example:
        >>> from clplat.testing import tiny_backbone
        >>> texts = random_texts(tiny_backbone(), count=3, length=5, seed=0)
        >>> texts.ids.shape, set(texts.lengths)
        (torch.Size([3, 12]), {8})
    """
    form, other = (backbone.tokenize([" ".join([word] * length)])[0] for word in ("a", "b"))
    free = form != other  # where words stand
    if int(free.sum()) != length:
        raise UserError(f"{length} random tokens do not fit into the {backbone.context_length} of a text")
    special = torch.tensor(sorted({*form[~free].tolist()}))
    # The text ends at the largest id of CLIP's vocabulary, wherever that stands: nothing above it is a word.
    last = int(special.max())
    high = (
        last if last > int(form[free].max()) else int(backbone.model_cfg["text_cfg"].get("vocab_size", last))
    )
    known = torch.arange(1, high)
    known = known[~torch.isin(known, special)]
    ids = form.repeat(count, 1)
    chosen = torch.randint(len(known), (count, length), generator=generator(seed, "random texts"))
    ids[:, free] = known[chosen]
    return Texts(ids)
