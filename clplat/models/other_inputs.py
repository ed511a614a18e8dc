"""What was made ready for one backbone, as another one reads it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from clplat.data.inputs import Texts
from clplat.errors import UserError
from clplat.models.backbone import Backbone

__all__ = ["fitted_ids", "fitted_pixels", "same_words"]


def fitted_pixels(pixels: Tensor, backbone: Backbone) -> Tensor:
    """Pixels (B, 3, S, S), uint8, on the backbone's device and of its size.

    Raises:
        UserError: floats, which are normalised as the other model wants them.

    Example:
        >>> from clplat.testing import tiny_backbone
        >>> fitted_pixels(torch.zeros(1, 3, 64, 64, dtype=torch.uint8), tiny_backbone()).shape
        torch.Size([1, 3, 16, 16])
    """
    if pixels.dtype != torch.uint8:
        raise UserError(f"pixels of {pixels.dtype} are normalised for one model: two models need torch.uint8")
    pixels, size = pixels.to(backbone.logit_scale.device), (backbone.image_size,) * 2
    if pixels.shape[-2:] == size:
        return pixels
    resized = F.interpolate(pixels.float(), size, mode="bicubic", antialias=True)
    return resized.round().clamp(0, 255).to(torch.uint8)


def fitted_ids(ids: Tensor, lengths: Sequence[int], backbone: Backbone) -> Tensor:
    """Token ids (B, L) on the backbone's device and as wide as its context.

    Args:
        lengths: tokens of each, up to its EOT.

    Raises:
        UserError: a text is longer than the context.
    """
    ids, room = ids.to(backbone.logit_scale.device), backbone.context_length
    if max(lengths) > room:
        raise UserError(f"a text is longer than the {room} tokens of the backbone '{backbone.name}'")
    return F.pad(ids, (0, max(0, room - ids.shape[1])))[:, :room]


def same_words(backbone: Backbone, model: Any) -> None:
    """Refuse a backbone that reads other token ids than the model's tokenizer writes.

    Args:
        model: with a ``tokenize``, or nothing that reads texts.

    Raises:
        UserError: it does.
    """
    own = getattr(model, "tokenize", None)
    if own is not None:
        mine, theirs = (Texts(tokenize(["a red shoe"])).names for tokenize in (own, backbone.tokenize))
        if mine != theirs:
            raise UserError(f"the backbone '{backbone.name}' reads other tokens than the model's own")
