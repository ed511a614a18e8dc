"""Words as vectors of a prompt."""

from __future__ import annotations

import torch
from torch import Tensor

from clplat.errors import UserError
from clplat.models.backbone import Backbone

__all__ = ["embedded", "words_of"]


def words_of(backbone: Backbone, words: str, length: int, std: float) -> Tensor:
    """Vectors (length, W) that start from the embeddings of words, and where these end from noise.

    Raises:
        UserError: more words than vectors.
    """
    vectors = torch.empty(length, backbone.text_width).normal_(std=std)
    if words:
        found = embedded(backbone, words)
        if len(found) > length:
            raise UserError(f"'{words}' is {len(found)} tokens, but length is {length}")
        vectors[: len(found)] = found
    return vectors


def embedded(backbone: Backbone, words: str) -> Tensor:
    """The embeddings (P, W) of words as the model has them, on the CPU."""
    ids = backbone.tokenize([words])
    inner = ids[0, 1 : int(backbone.text_ends(ids)[0])]  # between SOS and EOT
    return backbone.embed_text(inner.to(backbone.logit_scale.device), bare=True).detach().cpu()
