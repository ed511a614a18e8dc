"""What the towers hand to composers: features of a picture and of a text, before any normalisation."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

__all__ = ["ImageFeatures", "TextFeatures"]


@dataclass
class ImageFeatures:
    """Features of B pictures.

    ``pooled`` (B, D) lies in the joint space and is *not* normalised; ``tokens`` (B, N, W) are the patch
    tokens after the last block; ``hidden`` holds the output of every block. The last two only on request.
    """

    pooled: Tensor
    tokens: Tensor | None = None
    hidden: list[Tensor] = field(default_factory=list)


@dataclass
class TextFeatures:
    """Features of B texts, as `ImageFeatures`; ``ends`` (B,) is the place of the EOT."""

    pooled: Tensor
    tokens: Tensor | None = None
    hidden: list[Tensor] = field(default_factory=list)
    ends: Tensor | None = None
    input_ids: Tensor | None = None
