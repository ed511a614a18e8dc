"""COLA: a trained query looks at the patches of the picture and the words of the text at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from clplat.config.space import Float, Int
from clplat.mechanisms.attention import CrossLayer, encoder
from clplat.models.features import ImageFeatures, TextFeatures
from clplat.models.view import Towers
from clplat.parts.composers._base import Composer

__all__ = ["JointQuery"]


class JointQuery(Composer):
    """``q = n(r) + n(t) + W dec(e, enc([patches; words]))``: a multimodal adapter behind frozen towers.

    Patches and words go through a linear layer each, attend to one another in a transformer's encoder, and a
    trained query e reads them in its decoder. W is zero at first: the sum. Tokens of frozen towers are kept.

    Args:
        width: of the transformer.
        depth: layers of its encoder, and of its decoder.
        heads: of its attention, at most.
        queries: that read; W has the mean of what they read.
        dropout: in training.

    Raises:
        ValueError: a size below 1, a dropout outside [0, 1).

    What is trained: all of that, about ``28 * depth * width^2`` weights; the gallery knows no query.

    Reference:
        Ray et al., "COLA: A Benchmark for Compositional Text-to-image Retrieval", NeurIPS 2023,
        arXiv:2305.03689. There the query's output is compared with each word, which scores a pair of a
        picture and a text; here it makes the query of a retrieval, so that an index needs vectors alone.

    Example:
        >>> from clplat.testing.tiny import tiny_backbone
        >>> composer = JointQuery(width=8, heads=2)
        >>> composer.attach(Towers(tiny_backbone()))
        >>> composer.queries.shape
        torch.Size([1, 8])
    """

    wants: ClassVar[Mapping[str, frozenset[str]]] = {
        "image": frozenset({"pooled", "tokens"}),
        "text": frozenset({"pooled", "tokens"}),
    }

    def __init__(
        self,
        width: Annotated[int, Int(64, 1024, log=True)] = 128,
        depth: Annotated[int, Int(1, 4)] = 1,
        heads: int = 4,
        queries: Annotated[int, Int(1, 16, log=True)] = 1,
        dropout: Annotated[float, Float(0.0, 0.5)] = 0.1,
    ) -> None:
        super().__init__()
        if min(width, depth, heads, queries) < 1 or not 0.0 <= dropout < 1.0:
            raise ValueError(
                f"needs width, depth, heads and queries >= 1 and 0 <= dropout < 1, "
                f"not {width}, {depth}, {heads}, {queries} and {dropout}"
            )
        self.width, self.depth, self.heads = width, depth, heads
        self.count, self.dropout = queries, dropout

    def attach(self, towers: Towers) -> None:
        """Draw the transformer.

        Raises:
            UserError: an opaque tower has no words, or no patches.
        """
        towers.need_tokens("joint_query")
        width = self.width
        self.shown = nn.Linear(towers.image_tokens, width)
        self.said = nn.Linear(towers.text_tokens, width)
        self.encoder = encoder(width, self.depth, self.heads, self.dropout)
        self.queries = nn.Parameter(torch.randn(self.count, width) / width**0.5)
        self.decoder = nn.ModuleList(CrossLayer(width, self.heads, self.dropout) for _ in range(self.depth))
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, towers.joint)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, image: ImageFeatures, text: TextFeatures) -> Tensor:
        """Return (B, D), not normalised."""
        assert image.tokens is not None and text.tokens is not None and text.ends is not None
        shown, said = self.shown(image.tokens.float()), self.said(text.tokens.float())
        absent = torch.arange(said.shape[1], device=said.device) > text.ends[:, None]
        missing = torch.cat([absent.new_zeros(shown.shape[:2]), absent], dim=1)
        held = self.encoder(torch.cat([shown, said], dim=1), src_key_padding_mask=missing)
        read = self.queries.expand(len(held), -1, -1)
        for layer in self.decoder:
            read = layer(read, held, None, missing)
        added: Tensor = self.out(self.norm(read).mean(dim=1))
        return normalize(image.pooled, dim=-1) + normalize(text.pooled, dim=-1) + added
