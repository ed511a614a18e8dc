"""SPRC: the picture becomes a prompt of several vectors before the text, in the words of the text tower."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from clplat.config.space import Float, Int
from clplat.errors import UserError
from clplat.mechanisms.attention import Decoder
from clplat.mechanisms.contrast import cosines, nce
from clplat.mechanisms.pseudo_words import Template
from clplat.models.features import ImageFeatures, TextFeatures
from clplat.models.view import Towers
from clplat.parts.composers._base import Composer

__all__ = ["SentencePrompt"]


class SentencePrompt(Composer):
    """``q = E_T(p text)``: K vectors p that learnt queries read in the picture's patches and the words.

    Two objectives beside the task's:

    * ``said``: with K learnt vectors p' in the place of p, the text alone shall find the answer, by the
      contrastive loss;
    * ``aligned``: the mean of p is near the mean of p', in squares; p' gets no gradient of it.

    Args:
        words: K.
        width: of the decoder.
        depth: its layers.
        heads: of its attention, at most.
        dropout: in training.
        said: weight of the first objective.
        aligned: of the second.

    Raises:
        ValueError: a size below 1, a weight below 0, a dropout outside [0, 1).

    What is trained: queries, decoder and p', drawn by torch's generator in `attach`, through the text tower.
    It reads each text twice.

    Reference:
        Bai et al., "Sentence-level Prompts Benefit Composed Image Retrieval" (SPRC), ICLR 2024,
        arXiv:2310.05473.

    Example:
        >>> from clplat.testing.tiny import tiny_backbone
        >>> composer = SentencePrompt(words=2, width=8, heads=2)
        >>> composer.attach(Towers(tiny_backbone()))
        >>> composer.places, composer.fixed.shape
        (2, torch.Size([2, 48]))
    """

    wants: ClassVar[Mapping[str, frozenset[str]]] = {
        "image": frozenset({"tokens"}),
        "text": frozenset({"tokens", "input"}),
    }
    learns_from: ClassVar[Mapping[str, frozenset[str]]] = {"answer": frozenset({"pooled"})}

    def __init__(
        self,
        words: Annotated[int, Int(1, 16, log=True)] = 4,
        width: Annotated[int, Int(64, 1024, log=True)] = 128,
        depth: Annotated[int, Int(1, 6)] = 2,
        heads: int = 4,
        dropout: Annotated[float, Float(0.0, 0.5)] = 0.1,
        said: Annotated[float, Float(0.05, 2.0, log=True)] = 0.4,
        aligned: Annotated[float, Float(0.05, 2.0, log=True)] = 0.4,
    ) -> None:
        super().__init__()
        if min(words, width, depth, heads) < 1 or not 0.0 <= dropout < 1.0:
            raise ValueError(
                f"needs words, width, depth and heads >= 1 and 0 <= dropout < 1, "
                f"not {words}, {width}, {depth}, {heads} and {dropout}"
            )
        if not (0.0 <= said < math.inf and 0.0 <= aligned < math.inf):
            raise ValueError(f"said and aligned must be at least 0, not {said} and {aligned}")
        self.words, self.said, self.aligned = words, said, aligned
        self.sizes = {"width": width, "depth": depth, "heads": heads}
        self.dropout = dropout

    def attach(self, towers: Towers) -> None:
        """Draw queries and decoder.

        Raises:
            UserError: a tower gives no tokens or takes no embeddings, or its context is too short.
        """
        towers.need_tokens("sentence_prompt")
        if self.words > towers.room - 3:
            raise UserError(f"words is {self.words}; the context has {towers.room} places")
        self.towers, wide = towers, towers.text_tokens
        self._sentence = Template(towers, "*", self.words)
        self.places = self._sentence.places
        self.asks = nn.Parameter(torch.randn(self.words, wide))
        self.fixed = nn.Parameter(torch.randn(self.words, wide) * 0.02)
        self.decoder = Decoder(wide, towers.joint, dropout=self.dropout, **self.sizes)
        # What it gives is as long as the embeddings of words are.
        last: Any = self.decoder.out[1]
        nn.init.normal_(last.weight, std=0.02 / math.sqrt(self.sizes["width"]))
        nn.init.zeros_(last.bias)

    def forward(self, image: ImageFeatures, text: TextFeatures) -> Tensor:
        """Return (B, D), not normalised."""
        assert text.input_ids is not None
        return self._sentence.with_text(self.prompt(image, text), text.input_ids)

    def prompt(self, image: ImageFeatures, text: TextFeatures) -> Tensor:
        """The vectors p (B, K, W) of pictures and their texts."""
        assert image.tokens is not None and text.tokens is not None and text.ends is not None
        patches, words = self.towers.joint_patches(image.tokens), self.towers.joint_words(text.tokens)
        behind = torch.arange(words.shape[1], device=words.device) > text.ends[:, None]
        missing = torch.cat([torch.zeros_like(patches[..., 0], dtype=torch.bool), behind], dim=1)
        asks = self.asks.expand(len(words), -1, -1)
        found: Tensor = self.decoder(asks, torch.cat([patches, words], dim=1), missing=missing)
        return found

    def terms(self, batch: Any, outputs: Any) -> dict[str, Tensor]:
        """``said`` and ``aligned``, where the batch has triplets."""
        seen = outputs.triplets
        if seen is None:
            return {}
        fixed = self.fixed.expand(len(seen), -1, -1)
        alone = self._sentence.with_text(fixed, seen.text.input_ids)
        positive = batch.positive.to(alone.device)[seen.rows][:, seen.rows]
        said = nce(outputs.scale * cosines(alone, seen.answer.pooled), positive)
        aligned = mse_loss(self.prompt(seen.reference, seen.text).mean(1), fixed.detach().mean(1))
        return {"said": self.said * said, "aligned": self.aligned * aligned}
