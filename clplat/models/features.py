"""What the towers hand to composers: features of a picture and of a text, before any normalisation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeVar

from torch import Tensor

__all__ = ["ImageFeatures", "TextFeatures"]

F = TypeVar("F", "ImageFeatures", "TextFeatures")


@dataclass
class ImageFeatures:
    """Features of B pictures.

    ``pooled`` (B, D) lies in the joint space and is *not* normalised; ``tokens`` (B, N, W) are the patch
    tokens after the last block; ``hidden`` holds the output of every block. The last two only on request.
    """

    pooled: Tensor
    tokens: Tensor | None = None
    hidden: list[Tensor] = field(default_factory=list)

    def part(self, rows: Sequence[int]) -> ImageFeatures:
        """The features of these pictures."""
        return _part(self, rows)


@dataclass
class TextFeatures:
    """Features of B texts, as `ImageFeatures`; ``ends`` (B,) is the place of the EOT."""

    pooled: Tensor
    tokens: Tensor | None = None
    hidden: list[Tensor] = field(default_factory=list)
    ends: Tensor | None = None
    input_ids: Tensor | None = None

    def part(self, rows: Sequence[int]) -> TextFeatures:
        """The features of these texts."""
        return _part(self, rows)


def _part(features: F, rows: Sequence[int]) -> F:
    """Of every field the entries of these rows."""
    rows = list(rows)
    start = rows[0] if rows else 0
    # A slice shares memory; picking rows one by one would copy them, and wait for a device.
    consecutive = rows == list(range(start, start + len(rows)))
    chosen: Any = slice(start, start + len(rows)) if consecutive else rows

    def pick(value: Any) -> Any:
        if isinstance(value, Tensor):
            return value[chosen]
        if isinstance(value, list) and value and isinstance(value[0], Tensor):
            return [pick(layer) for layer in value]
        return [value[row] for row in rows] if isinstance(value, list) and value else value

    return replace(features, **{f.name: pick(getattr(features, f.name)) for f in fields(features)})
