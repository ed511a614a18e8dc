"""Maps from a picture's feature to pseudo-words: an MLP, a transformer with prefixes, a soft vocabulary."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from clplat.mechanisms.attention import encoder

__all__ = ["Prefixes", "SoftVocabulary", "Words", "mlp"]


@dataclass
class Words:
    """Pseudo-words of B pictures.

    Args:
        vectors: (B, words, W), token embeddings.
        present: (B, words), which there are; None: all.
        parts: (B, N, D), unit features of parts of the picture that words came from; None: of the whole.
    """

    vectors: Tensor
    present: Tensor | None = None
    parts: Tensor | None = None


def mlp(
    width: int, hidden: int, out: int, *, depth: int = 2, dropout: float = 0.0, activation: str = "relu"
) -> nn.Sequential:
    """Hidden layers, each with its activation and dropout behind it, and a linear one.

    Args:
        activation: ``"relu"``, ``"gelu"`` or ``"tanh"``.

    Example:
        >>> mlp(24, 8, 48)(torch.zeros(2, 24)).shape
        torch.Size([2, 48])
    """
    kinds: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU, "tanh": nn.Tanh}
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [nn.Linear(width, hidden), kinds[activation](), nn.Dropout(dropout)]
        width = hidden
    return nn.Sequential(*layers, nn.Linear(width, out))


class Prefixes(nn.Module):
    """A transformer over the feature, as some tokens, and learnt vectors, of which it makes the words.

    Args:
        width: of the feature.
        words: learnt vectors; as many tokens stand for the feature.
        out: width W of a word, and of the transformer.
        depth: layers.
        heads: of attention, at most.

    Reference:
        Mokady, Hertz and Bermano, "ClipCap: CLIP Prefix for Image Captioning", 2021, arXiv:2111.09734.

    Example:
        >>> Prefixes(24, 2, 48, depth=1)(torch.zeros(3, 24)).shape
        torch.Size([3, 96])
    """

    def __init__(self, width: int, words: int, out: int, depth: int = 8, heads: int = 8) -> None:
        super().__init__()
        self.words, self.tokens = words, nn.Linear(width, words * out)
        self.prefix = nn.Parameter(torch.empty(words, out).normal_())
        self.layers = encoder(out, depth, heads, 0.0)

    def forward(self, pooled: Tensor) -> Tensor:
        """The words (B, words * W), one after the other."""
        shown = self.tokens(pooled).unflatten(1, (self.words, -1))
        x = torch.cat([shown, self.prefix.expand(len(pooled), -1, -1)], dim=1)
        made: Tensor = self.layers(x)[:, self.words :].flatten(1)
        return made


class SoftVocabulary(nn.Module):
    """Each word is a mixture of the rows of a table: ``softmax(LN(W x)) V``.

    Args:
        width: of the feature.
        words: mixtures.
        out: width W of a word.
        size: rows of the table, drawn and trained.

    Attributes:
        entropy: of the last mixtures in evaluation mode, in nats, as a mean: 0 where each word is one row.

    Reference:
        Lu et al., "Ovis: Structural Embedding Alignment for Multimodal Large Language Model", 2024,
        arXiv:2405.20797.

    Example:
        >>> SoftVocabulary(24, 2, 48, size=10)(torch.zeros(3, 24)).shape
        torch.Size([3, 96])
    """

    def __init__(self, width: int, words: int, out: int, size: int) -> None:
        super().__init__()
        self.words, self.head = words, nn.Linear(width, words * size, bias=False)
        self.norm = nn.LayerNorm(size)
        # As large as token embeddings are, so that a mixture is no longer than a word.
        self.table = nn.Parameter(torch.empty(size, out).normal_(std=0.02))
        self.entropy: Tensor | None = None

    def mixtures(self, pooled: Tensor) -> Tensor:
        """Shares of the rows (B, words, size) in each word."""
        shares: Tensor = self.norm(self.head(pooled).unflatten(1, (self.words, -1))).softmax(dim=-1)
        return shares

    def forward(self, pooled: Tensor) -> Tensor:
        """The words (B, words * W), one after the other."""
        shares = self.mixtures(pooled)
        if not self.training:
            self.entropy = -torch.special.xlogy(shares, shares).sum(-1).mean().detach()
        return (shares @ self.table).flatten(1)
