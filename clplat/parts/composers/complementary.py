"""CaLa: a text is what tells the reference from the answer, and it connects the one with the other."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from clplat.config.space import Float
from clplat.mechanisms.contrast import cosines, nce
from clplat.models.features import TextFeatures
from clplat.models.view import Towers
from clplat.parts.composers._around import Around
from clplat.parts.composers._base import Composer

__all__ = ["Complementary"]

_ALL = frozenset({"pooled", "tokens"})


class Complementary(Around):
    """Trains an inner composer with two further associations of triplets; queries stay as they are.

    With R, T the reference's and the answer's pooled feature and patches, C the words, all in the joint
    space, and row 0 the pooled feature's:

    * twin: ``g = (R_4 + T_4) / 2`` in row 0, where ``R_1 = attention(R, T, T)``,
      ``R_i = attention(R, R_(i-1), R_(i-1))`` and T_i likewise with R and T exchanged: the text's embedding t
      shall be nearest to g. Its scores join those of queries and answers in one loss,
      ``twin scale cos(t, g) + (1 - twin) s(q, answer)``, s at the model's own scale.
    * hinge: ``T' = softmax(A B) V(T)``, ``A = Q(R) K(C)' / sqrt(D)``, ``B = K(C) K'(T)' / sqrt(D)``: the
      words connect patches of both; row 0 of T' shall be nearest to the reference.

    The loss is ``(1 - hinge)`` of the first and ``hinge`` of the second, each over the triplets of a batch.
    It holds the loss of the query itself: choose ``--loss none``.

    Args:
        inner: what composes.
        twin: share of the twin's scores.
        hinge: share of the hinge's loss.
        scale: of cosines of both.
        dropout: of the hinge's attention, in training.

    Raises:
        ValueError: a share outside [0, 1), a scale of 0 or below, a dropout outside [0, 1).

    What is trained: the two attentions of the twin and four layers of the hinge, none of them deployed; what
    of ``inner`` is.

    Reference:
        Jiang et al., "CaLa: Complementary Association Learning for Augmenting Composed Image Retrieval",
        SIGIR 2024, arXiv:2405.19149.

    Example:
        >>> from clplat.testing.tiny import tiny_backbone
        >>> composer = Complementary()
        >>> composer.attach(Towers(tiny_backbone()))
        >>> composer.objectives
        ('twin', 'hinge')
    """

    def __init__(
        self,
        inner: Composer | None = None,
        twin: Annotated[float, Float(0.05, 0.9)] = 0.45,
        hinge: Annotated[float, Float(0.01, 0.5, log=True)] = 0.1,
        scale: Annotated[float, Float(5.0, 100.0, log=True)] = 10.0,
        dropout: float = 0.1,
    ) -> None:
        super().__init__(inner)
        if not (0.0 <= twin < 1.0 and 0.0 <= hinge < 1.0 and 0.0 <= dropout < 1.0 and 0 < scale < math.inf):
            raise ValueError(
                f"needs twin, hinge and dropout in [0, 1) and scale above 0, "
                f"not {twin}, {hinge}, {dropout} and {scale}"
            )
        self.twin, self.hinge, self.scale, self.dropout = twin, hinge, scale, dropout
        more: Mapping[str, frozenset[str]] = self.inner.learns_from
        self.learns_from = {  # type: ignore[misc]
            side: more.get(side, frozenset()) | _ALL for side in ("image", "text", "answer")
        }

    @property
    def objectives(self) -> tuple[str, ...]:
        """Both; the first holds the task's."""
        return ("twin", "hinge", *self.inner.objectives)

    def attach(self, towers: Towers) -> None:
        """Attach the inner composer, and draw the attentions.

        Raises:
            UserError: an opaque tower has no words, or no patches.
        """
        super().attach(towers)
        towers.need_tokens("complementary")
        width = towers.joint
        self.shown, self.answered = (nn.MultiheadAttention(width, 1, batch_first=True) for _ in range(2))
        self.asks, self.said, self.held, self.value = (nn.Linear(width, width) for _ in range(4))

    def terms(self, batch: Any, outputs: Any) -> dict[str, Tensor]:
        """``twin`` and ``hinge``, beside the inner composer's."""
        terms, seen = self.inner.terms(batch, outputs), outputs.triplets
        if seen is None:
            return terms
        shown, answered = (
            torch.cat([found.pooled[:, None], self.towers.joint_patches(found.tokens)], dim=1)
            for found in (seen.reference, seen.answer)
        )
        rows = torch.tensor(seen.rows, device=shown.device)
        positive = batch.positive.to(shown.device)[rows][:, rows]
        scores = outputs.scores(scale=outputs.scale)[rows][:, rows]
        gap = self.scale * cosines(seen.text.pooled, self.difference(shown, answered))
        found = self.scale * cosines(self.reasoned(shown, seen.text, answered), seen.reference.pooled)
        twin = nce(self.twin * gap + (1.0 - self.twin) * scores, positive)
        return terms | {"twin": (1.0 - self.hinge) * twin, "hinge": self.hinge * nce(found)}

    def difference(self, shown: Tensor, answered: Tensor) -> Tensor:
        """What tells two pictures apart (B, D), of rows (B, N, D) each; the twin's g."""
        ends = []
        for layer, asks, first in ((self.shown, shown, answered), (self.answered, answered, shown)):
            read = first
            for _ in range(4):
                read = layer(asks, read, read, need_weights=False)[0]
            ends.append(read[:, 0])
        return (ends[0] + ends[1]) / 2

    def reasoned(self, shown: Tensor, text: TextFeatures, answered: Tensor) -> Tensor:
        """What the words connect the reference with in the answer (B, D); the hinge's T'."""
        assert text.tokens is not None and text.ends is not None
        root = math.sqrt(shown.shape[-1])
        words = self.said(self.towers.joint_words(text.tokens))
        absent = torch.arange(words.shape[1], device=words.device) > text.ends[:, None]
        words = words.masked_fill(absent[..., None], 0.0)
        first = self.asks(shown[:, :1]) @ words.transpose(1, 2) / root
        second = words @ self.held(answered).transpose(1, 2) / root
        share = nn.functional.dropout((first @ second).softmax(-1), self.dropout, self.training)
        found: Tensor = (share @ self.value(answered))[:, 0]
        return found
