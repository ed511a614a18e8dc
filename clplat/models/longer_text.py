"""A text tower that takes longer texts: positions, causal mask and tokenizer change together."""

from __future__ import annotations

import torch
from torch import nn

from clplat.errors import UserError
from clplat.models.backbone import Backbone
from clplat.models.tokenizer import Tokenizer

__all__ = ["lengthen_text"]


def lengthen_text(backbone: Backbone, positions: nn.Module, length: int) -> None:
    """Let texts have ``length`` tokens.

    Args:
        positions: makes the positional embedding (length, W) of the one that the text tower has.

    Raises:
        UserError: an opaque text tower, or one that was made longer already.
    """
    text = getattr(backbone.model, "text", backbone.model)
    if backbone.text_layers is None or getattr(text, "longer", None) is not None:
        raise UserError(f"the text tower of backbone '{backbone.name}' cannot be made longer")
    text.longer = positions
    mask = torch.full((length, length), float("-inf"), device=text.attn_mask.device)
    text.attn_mask = mask.to(text.attn_mask.dtype).triu_(1)
    backbone.context_length = text.context_length = length
    backbone._tokenizer = Tokenizer(backbone._tokenizer.source, length)
    config = {**backbone.model_cfg["text_cfg"], "context_length": length}
    backbone.model_cfg = {**backbone.model_cfg, "text_cfg": config}
