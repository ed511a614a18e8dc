"""Maps to pseudo-words that see more than one feature: what a text asks about, attributes, neighbours."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from clplat.mechanisms.attention import Decoder, encoder, heads_fit
from clplat.mechanisms.word_maps import Words, mlp

__all__ = ["Attributes", "Intent", "Neighbours"]


class Intent(nn.Module):
    """A word of what the text asks about: class token and patches are filtered by it, dimension by dimension.

    ``x -> (R x) * (C t)``; the word is ``f(P LN(x_0)) + tanh(g) f'(P' LN(mean of latents that read the
    patches))``, with g zero at first.

    Args:
        tokens: width of the image tower's tokens; joint: of the text's feature.
        out: width W of a word.
        hidden: of both MLPs.
        latents, depth: that read the patches.

    Reference:
        Tang et al., "Context-I2W: Mapping Images to Context-dependent Words for Accurate Zero-Shot Composed
        Image Retrieval", AAAI 2024, arXiv:2309.16137.

    Example:
        >>> Intent(32, 24, 48, hidden=8)(torch.ones(2, 32), torch.ones(2, 4, 32), torch.ones(2, 24)).shape
        torch.Size([2, 48])
    """

    def __init__(
        self, tokens: int, joint: int, out: int, *, hidden: int, dropout: float = 0.1, depth: int = 6
    ) -> None:
        super().__init__()
        self.asks = nn.Linear(joint, tokens, bias=False)
        self.turns = weight_norm(nn.Linear(tokens, tokens, bias=False))
        self.latents = nn.Parameter(torch.empty(4, tokens).normal_())
        self.reads = Decoder(tokens, tokens, width=tokens, heads=8, depth=depth)
        self.whole, self.part = (
            nn.Sequential(
                nn.LayerNorm(tokens),
                nn.Linear(tokens, joint, bias=False),
                mlp(joint, hidden, out, dropout=dropout),
            )
            for _ in range(2)
        )
        self.gate = nn.Parameter(torch.zeros(()))

    def forward(self, whole: Tensor, patches: Tensor, text: Tensor) -> Tensor:
        """The word (B, W) of class tokens (B, T), patches (B, N, T) and texts (B, D)."""
        asked = self.asks(text)
        patches = self.turns(patches) * asked[:, None]
        read = self.reads(self.latents.expand(len(text), -1, -1), patches).mean(dim=1)
        word: Tensor = self.whole(self.turns(whole) * asked) + self.gate.tanh() * self.part(read)
        return word


class Attributes(nn.Module):
    """A word for the whole picture, and one for each part of it that stands out.

    ``count`` learnt vectors read the tokens; those whose share in ``softmax(a . v)``, v the picture's
    feature, is above ``least`` are its attributes, ``top`` at most and one at least, in their own order.

    Args:
        tokens: width of the image tower's tokens; joint: of the joint space; out: of a word.
        hidden, dropout: of the two MLPs.
        count, top, least: see above.
        depth: layers.

    Reference:
        Lin et al., "Fine-grained Textual Inversion Network for Zero-Shot Composed Image Retrieval", SIGIR
        2024.

    Example:
        >>> map = Attributes(32, 24, 48, hidden=8, top=3)
        >>> map(torch.ones(2, 24), torch.ones(2, 5, 32)).vectors.shape
        torch.Size([2, 4, 48])
    """

    def __init__(
        self,
        tokens: int,
        joint: int,
        out: int,
        *,
        hidden: int,
        dropout: float = 0.5,
        count: int = 24,
        top: int = 12,
        least: float = 0.05,
        depth: int = 3,
    ) -> None:
        super().__init__()
        self.latents = nn.Parameter(torch.empty(max(count, top), tokens).normal_())
        self.layers = encoder(tokens, depth, 1, 0.0)
        self.shows = nn.Sequential(nn.Linear(tokens, joint), nn.Sigmoid())
        self.subject, self.attribute = (
            mlp(joint, hidden, out, dropout=dropout, activation="gelu") for _ in range(2)
        )
        self.top, self.least = top, least

    def forward(self, pooled: Tensor, tokens: Tensor) -> Words:
        """The words (B, 1 + top, W) of features (B, D) and tokens (B, N, T), the class token's among them."""
        latents = self.latents.expand(len(pooled), -1, -1)
        found = self.shows(self.layers(torch.cat([latents, tokens], dim=1))[:, : len(self.latents)])
        shares = (found @ pooled[:, :, None]).squeeze(2).softmax(dim=1)
        chosen = shares.topk(self.top, dim=1).indices.sort(dim=1).values
        own = shares.gather(1, chosen)
        present = (own > self.least) | (own == own.max(dim=1, keepdim=True).values)
        parts = F.normalize(found.gather(1, chosen[:, :, None].expand(-1, -1, found.shape[2])), dim=-1)
        vectors = torch.cat([self.subject(pooled)[:, None], self.attribute(parts)], dim=1)
        return Words(vectors, torch.cat([torch.ones_like(present[:, :1]), present], dim=1), parts)


class Neighbours(nn.Module):
    """Three words: what the nearest pictures and the nearest texts add to the picture's own, and that itself.

    All features go through one MLP; the picture's word asks the words of its ``near`` nearest pictures, and
    of its nearest texts, through three layers of attention each, without residuals. In training the other
    pictures of the batch are neighbours beside those of the bank; where there is none, the picture itself.

    Args:
        joint: width of the joint space; out: of a word.
        hidden, dropout: of the MLP.
        texts: features (N, D) of the texts.
        near: neighbours of each kind.
        size: pictures in the bank.

    Reference:
        Suo et al., "Knowledge-Enhanced Dual-stream Zero-shot Composed Image Retrieval", CVPR 2024,
        arXiv:2403.16005.

    Example:
        >>> Neighbours(24, 48, hidden=8, texts=torch.ones(5, 24), near=2)(torch.ones(3, 24)).shape
        torch.Size([3, 3, 48])
    """

    bank: Tensor
    filled: Tensor
    texts: Tensor

    def __init__(
        self,
        joint: int,
        out: int,
        *,
        hidden: int,
        texts: Tensor,
        dropout: float = 0.1,
        near: int = 16,
        size: int = 512,
    ) -> None:
        super().__init__()
        self.near, self.own = near, mlp(joint, hidden, out, dropout=dropout)
        self.register_buffer("bank", torch.zeros(size, joint))
        self.register_buffer("filled", torch.zeros((), dtype=torch.long))
        self.register_buffer("texts", texts.detach().clone())
        self.asks_pictures, self.asks_texts = (
            nn.ModuleList(nn.MultiheadAttention(out, heads_fit(out, 8), batch_first=True) for _ in range(3))
            for _ in range(2)
        )

    def fit(self, pictures: Tensor) -> None:
        """Fill the bank with these features (N, D), evenly chosen where there are more."""
        chosen = torch.linspace(0, len(pictures) - 1, min(len(pictures), len(self.bank))).long()
        self.bank[: len(chosen)] = pictures[chosen.to(pictures.device)].to(self.bank)
        self.filled.fill_(len(chosen))

    def forward(self, pooled: Tensor) -> Tensor:
        """The words (B, 3, W) of features (B, D)."""
        word, held = self.own(pooled)[:, None], self.bank[: int(self.filled)]
        shown, hidden = held, None
        if self.training:
            shown = torch.cat([held, pooled.detach()])
            hidden = F.pad(torch.eye(len(pooled), dtype=torch.bool, device=pooled.device), (len(held), 0))
        if len(shown) == 0 or (hidden is not None and len(shown) == 1):
            near = pooled[:, None]
        else:
            near = _nearest(pooled, shown, min(self.near, len(shown) - self.training), hidden)
        said = _nearest(pooled, self.texts, min(self.near, len(self.texts)))
        made = [
            _asked(layers, word, self.own(found))
            for layers, found in ((self.asks_pictures, near), (self.asks_texts, said))
        ]
        return torch.cat([*made, word], dim=1)


def _nearest(pooled: Tensor, bank: Tensor, count: int, hidden: Tensor | None = None) -> Tensor:
    """The ``count`` rows of a bank (B, count, D) nearest to each by the cosine; ``hidden`` are left out."""
    scores = F.normalize(pooled, dim=-1) @ F.normalize(bank, dim=-1).T
    if hidden is not None:
        scores = scores.masked_fill(hidden, -torch.inf)
    return bank[scores.topk(count, dim=1).indices]


def _asked(layers: nn.ModuleList, word: Tensor, found: Tensor) -> Tensor:
    for layer in layers:
        word = layer(word, found, found, need_weights=False)[0]
    return word
