"""The text attends to the patches of the reference, and a gate decides how much of that counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from clplat.config.space import Choice, Float, Int
from clplat.mechanisms.attention import Decoder
from clplat.models.features import ImageFeatures, TextFeatures
from clplat.models.view import Towers
from clplat.parts.composers._base import Composer

__all__ = ["CrossAttention"]


class CrossAttention(Composer):
    """``q = b + g * dec(text, patches)``: what the text reads in the picture, through a gate that starts low.

    Patches and words are in the joint space by the towers' own projections; dec is a transformer decoder
    (`clplat.mechanisms.attention.Decoder`), of which the row of the EOT counts.

    =========  ==========================================================================================
    DenseCLIP  b = t; the pooled text asks; g a number for each dimension, 1e-4 at first
    CLIPTER    b = t; the words ask; g = tanh(a), a = 0 at first: off
    BSE-CoVR   b = t; the words ask; g = 1 for each dimension at first
    =========  ==========================================================================================

    Args:
        asks: the pooled text, or all its words.
        base: b: the text, or the sum of both unit rows.
        gate: a number for each dimension, or tanh of one.
        opened: that number at first.
        width: of the decoder.
        depth: its layers.
        heads: of its attention, at most.
        dropout: in training.

    Raises:
        ValueError: a size below 1, a dropout outside [0, 1), another word.

    What is trained: decoder and gate, drawn by torch's generator in `attach`.

    Reference:
        Rao et al., "DenseCLIP: Language-Guided Dense Prediction with Context-Aware Prompting", CVPR 2022,
        arXiv:2112.01518; Aberdam et al., "CLIPTER: Looking at the Bigger Picture in Scene Text Recognition",
        ICCV 2023, arXiv:2301.07464; Thawakar et al., "Beyond Simple Edits: Composed Video Retrieval with
        Dense Modifications", ICCV 2025 (BSE-CoVR).

    Example:
        >>> from clplat.testing.tiny import tiny_backbone
        >>> composer = CrossAttention(width=8, depth=1, heads=2)
        >>> composer.attach(Towers(tiny_backbone()))
        >>> composer.gate.shape
        torch.Size([24])
    """

    def __init__(
        self,
        asks: Annotated[Literal["text", "words"], Choice("text", "words")] = "text",
        base: Annotated[Literal["text", "sum"], Choice("text", "sum")] = "text",
        gate: Annotated[Literal["vector", "tanh"], Choice("vector", "tanh")] = "vector",
        opened: Annotated[float, Float(0.0, 1.0)] = 1e-4,
        width: Annotated[int, Int(64, 1024, log=True)] = 128,
        depth: Annotated[int, Int(1, 6)] = 1,
        heads: int = 4,
        dropout: Annotated[float, Float(0.0, 0.5)] = 0.1,
    ) -> None:
        super().__init__()
        for name, word, allowed in (
            ("asks", asks, ("text", "words")),
            ("base", base, ("text", "sum")),
            ("gate", gate, ("vector", "tanh")),
        ):
            if word not in allowed:
                raise ValueError(f"{name} is '{word}'; allowed: {', '.join(allowed)}")
        if min(width, depth, heads) < 1 or not 0.0 <= dropout < 1.0 or not abs(opened) < float("inf"):
            raise ValueError(
                f"needs width, depth and heads >= 1, 0 <= dropout < 1 and a number for opened, "
                f"not {width}, {depth}, {heads}, {dropout} and {opened}"
            )
        self.asks, self.base, self.form, self.opened = asks, base, gate, opened
        self.width, self.depth, self.heads, self.dropout = width, depth, heads, dropout
        self.wants: Mapping[str, frozenset[str]] = {  # type: ignore[misc]
            "image": frozenset({"tokens"} | ({"pooled"} if base == "sum" else set())),
            "text": frozenset({"pooled"} | ({"tokens"} if asks == "words" else set())),
        }

    def attach(self, towers: Towers) -> None:
        """Draw the decoder."""
        self.towers, joint = towers, towers.joint
        self.decoder = Decoder(
            joint, joint, width=self.width, heads=self.heads, depth=self.depth, dropout=self.dropout
        )
        self.gate = nn.Parameter(torch.full((joint if self.form == "vector" else 1,), self.opened))

    def forward(self, image: ImageFeatures, text: TextFeatures) -> Tensor:
        """Return (B, D), not normalised."""
        assert image.tokens is not None
        read = self._read(text, self.towers.joint_patches(image.tokens))
        gate = self.gate if self.form == "vector" else torch.tanh(self.gate)
        base = text.pooled
        if self.base == "sum":
            base = normalize(image.pooled, dim=-1) + normalize(base, dim=-1)
        return base + gate * read

    def _read(self, text: TextFeatures, patches: Tensor) -> Tensor:
        """What the text, or its EOT among its words, makes of the patches (B, D)."""
        if self.asks == "text":
            found: Tensor = self.decoder(text.pooled[:, None], patches)
            return found[:, 0]
        assert text.tokens is not None and text.ends is not None
        absent = torch.arange(text.tokens.shape[1], device=text.ends.device) > text.ends[:, None]
        read: Tensor = self.decoder(self.towers.joint_words(text.tokens), patches, absent)
        return read[torch.arange(len(read), device=read.device), text.ends]
