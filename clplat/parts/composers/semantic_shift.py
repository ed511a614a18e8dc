"""SSN: the text says first what the picture loses, then what the rest of it becomes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize, relu

from clplat.config.space import Float
from clplat.mechanisms.attention import heads_fit
from clplat.mechanisms.contrast import cosines
from clplat.models.features import ImageFeatures, TextFeatures
from clplat.models.view import Towers
from clplat.parts.composers._base import Composer

__all__ = ["SemanticShift"]

_ALL = frozenset({"pooled", "tokens"})


class SemanticShift(Composer):
    """A step down from the picture to its prototype, and a step up from there, each by its part of the words.

    With X the picture's pooled feature (row 0) and patches by a linear layer, L the words, all in the joint
    space, r and t the pooled features:

    * ``s_i = sigmoid(w [L_i; X_0])``: word i says what comes by s_i, and what goes by 1 - s_i;
    * ``u_n = sigmoid(w' [X_n; mean_i (1 - s_i) L_i])``: what of the picture stays;
    * ``F = transformer([u X + e_0; s L + e_1])``, one layer, and ``f = [mean_i F_i, F_0]`` of its words and
      of row 0;
    * ``q = n(small W_o relu(W_c f) + g t + (1 - g) r)``, ``g = sigmoid(MLP f)``.

    A candidate is ``n(small transformer(X + e_0)_0 + r)``. Trained beside the task: the term ``shift``,
    ``KL(identity || p) - KL(p || p_-)`` of the softmax over the answers of a batch, p of the queries and p_-
    of what the other parts, ``(1 - u) X`` and ``(1 - s) L``, become in their place: it is pushed away.

    Args:
        small: factor of what layers add.
        weight: of the term.
        heads: of attention, at most.
        hidden: units of the combination, in joint widths.
        dropout: of the transformer, in training.

    Raises:
        ValueError: a weight or a factor below 0, a size below 1, a dropout outside [0, 1).

    What is trained: all layers, drawn by torch's generator in `attach`.

    Reference:
        Yang et al., "Decomposing Semantic Shifts for Composed Image Retrieval", AAAI 2024, arXiv:2309.09531.

    Example:
        >>> from clplat.testing.tiny import tiny_backbone
        >>> composer = SemanticShift(heads=2)
        >>> composer.attach(Towers(tiny_backbone()))
        >>> composer.words.weight.shape
        torch.Size([1, 48])
    """

    wants: ClassVar[Mapping[str, frozenset[str]]] = {"image": _ALL, "text": _ALL}
    target_wants: ClassVar[frozenset[str]] = _ALL
    learns_from: ClassVar[Mapping[str, frozenset[str]]] = {"answer": _ALL}

    def __init__(
        self,
        small: Annotated[float, Float(0.001, 1.0, log=True)] = 0.01,
        weight: Annotated[float, Float(0.01, 10.0, log=True)] = 1.0,
        heads: int = 8,
        hidden: int = 4,
        dropout: Annotated[float, Float(0.0, 0.5)] = 0.1,
    ) -> None:
        super().__init__()
        if not (0.0 <= small < float("inf") and 0.0 <= weight < float("inf") and 0.0 <= dropout < 1.0):
            raise ValueError(
                f"needs small and weight >= 0 and dropout in [0, 1), not {small}, {weight} and {dropout}"
            )
        if min(heads, hidden) < 1:
            raise ValueError(f"heads and hidden must be at least 1, not {heads} and {hidden}")
        self.small, self.weight, self.heads, self.hidden, self.dropout = small, weight, heads, hidden, dropout

    def attach(self, towers: Towers) -> None:
        """Draw the layers.

        Raises:
            UserError: an opaque tower has no words, or no patches.
        """
        towers.need_tokens("semantic_shift")
        self.towers, width = towers, towers.joint
        inner, heads = self.hidden * width, heads_fit(width, self.heads)
        self.types = nn.Parameter(torch.randn(2, width))
        self.picture = nn.Linear(width, width)
        self.words, self.patches = nn.Linear(2 * width, 1), nn.Linear(2 * width, 1)
        self.fusion = nn.TransformerEncoderLayer(width, heads, 4 * width, self.dropout, batch_first=True)
        self.combine, self.out = nn.Linear(2 * width, inner), nn.Linear(inner, width)
        self.gate = nn.Sequential(nn.Linear(2 * width, inner), nn.ReLU(), nn.Linear(inner, 1), nn.Sigmoid())

    def forward(self, image: ImageFeatures, text: TextFeatures) -> Tensor:
        """Return (B, D) unit rows."""
        return self.both(image, text)[0]

    def target(self, image: ImageFeatures) -> Tensor:
        fused = self.fusion(self._rows(image) + self.types[0])
        return normalize(self.small * fused[:, 0] + image.pooled, dim=-1)

    def both(self, image: ImageFeatures, text: TextFeatures) -> tuple[Tensor, Tensor]:
        """The query, and what the other parts of picture and words become (B, D) each."""
        assert text.tokens is not None and text.ends is not None
        shown, said = self._rows(image), self.towers.joint_words(text.tokens)
        there = torch.arange(said.shape[1], device=said.device) <= text.ends[:, None]
        comes = torch.sigmoid(self.words(torch.cat([said, shown[:, :1].expand_as(said)], dim=-1)))
        goes = _mean((1.0 - comes) * said, there)[:, None]
        stays = torch.sigmoid(self.patches(torch.cat([shown, goes.expand_as(shown)], dim=-1)))
        parts = ((stays, comes), (1.0 - stays, 1.0 - comes))
        made = [self._made(image, text, kept * shown, told * said, there) for kept, told in parts]
        return made[0], made[1]

    def _rows(self, image: ImageFeatures) -> Tensor:
        assert image.tokens is not None
        rows = torch.cat([image.pooled[:, None], self.towers.joint_patches(image.tokens)], dim=1)
        found: Tensor = self.picture(rows)
        return found

    def _made(
        self, image: ImageFeatures, text: TextFeatures, shown: Tensor, said: Tensor, there: Tensor
    ) -> Tensor:
        row = torch.cat([shown + self.types[0], said + self.types[1]], dim=1)
        absent = torch.cat([torch.zeros_like(shown[..., 0], dtype=torch.bool), ~there], dim=1)
        fused = self.fusion(row, src_key_padding_mask=absent)
        found = torch.cat([_mean(fused[:, shown.shape[1] :], there), fused[:, 0]], dim=-1)
        gate = self.gate(found)
        added = self.small * self.out(relu(self.combine(found)))
        return normalize(added + gate * text.pooled + (1.0 - gate) * image.pooled, dim=-1)

    def terms(self, batch: Any, outputs: Any) -> dict[str, Tensor]:
        """``shift``, where the batch has triplets."""
        seen = outputs.triplets
        if seen is None or not self.weight:
            return {}
        (query, other), answers = self.both(seen.reference, seen.text), self.target(seen.answer)
        right, wrong = (outputs.scale * cosines(rows, answers) for rows in (query, other))
        share = batch.positive.to(query.device)[seen.rows][:, seen.rows].to(query.dtype)
        return {"shift": self.weight * shift(right, wrong, share / share.sum(1, keepdim=True))}


def shift(right: Tensor, wrong: Tensor, share: Tensor) -> Tensor:
    """``KL(share || p) - KL(p || p_-)`` of logits (N, N), as means over all entries."""
    log_p, log_other = right.log_softmax(1), wrong.log_softmax(1)
    found = (torch.xlogy(share, share) - share * log_p).mean()
    return found - (log_p.exp() * (log_p - log_other)).mean()


def _mean(rows: Tensor, there: Tensor) -> Tensor:
    """The mean (B, D) of the rows (B, N, D) that are there (B, N)."""
    kept = there[..., None].to(rows.dtype)
    return (rows * kept).sum(1) / kept.sum(1)
