"""Patches of pictures and words of texts in the joint space, for scorers that lay several in a row."""

from __future__ import annotations

import torch
from torch import Tensor

from clplat.mechanisms.attention import cells
from clplat.models.features import ImageFeatures, TextFeatures
from clplat.models.view import Towers

__all__ = ["joined_members", "patches_of", "words_of"]


def words_of(towers: Towers, text: TextFeatures, most: int) -> tuple[Tensor, Tensor]:
    """The words of texts and their EOT (B, K, D), and which of them are there (B, K).

    Args:
        most: words, at most; the last of a text that is too long is its EOT, which has read all of it.
    """
    assert text.tokens is not None and text.ends is not None
    room = min(most, text.tokens.shape[1] - 1)
    places = torch.arange(1, room + 1, device=text.ends.device).expand(len(text.ends), -1)
    real = places <= text.ends[:, None]
    last = (places == room) & (text.ends[:, None] > room)
    places = torch.where(last, text.ends[:, None], places)
    chosen = text.tokens.gather(1, places[..., None].expand(-1, -1, text.tokens.shape[2]))
    return towers.joint_words(chosen), real


def patches_of(towers: Towers, image: ImageFeatures, grid: int) -> Tensor:
    """Patches (B, P, D) of pictures, cell by cell of a grid where they are more."""
    assert image.tokens is not None
    return towers.joint_patches(cells(image.tokens, grid))


def joined_members(
    towers: Towers, image: ImageFeatures | None, text: TextFeatures | None, grid: int
) -> tuple[Tensor, Tensor]:
    """Patches and words of the same items (B, N, D), and which of them are there (B, N)."""
    made: list[tuple[Tensor, Tensor]] = []
    if image is not None:
        patches = patches_of(towers, image, grid)
        made.append((patches, torch.ones(patches.shape[:2], dtype=torch.bool, device=patches.device)))
    if text is not None:
        assert text.tokens is not None
        made.append(words_of(towers, text, text.tokens.shape[1]))
    return torch.cat([one for one, _ in made], 1), torch.cat([real for _, real in made], 1)
