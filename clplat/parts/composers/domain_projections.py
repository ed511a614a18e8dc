"""PROOF's composition: projections of both sides, one more for each domain, and attention between them."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from clplat.models.features import ImageFeatures, TextFeatures
from clplat.parts.composers._base import Composer

__all__ = ["DomainProjections"]


class DomainProjections(Composer):
    """Sums of linear projections of picture and text, which attend to each other and to learnt vectors.

    ``r' = n(sum_t P_t r)``, ``w' = n(sum_t Q_t w)``; with X the rows r', w' and the context of all domains,
    ``Y = X + W_o softmax((W_q X)(W_k X)^T / sqrt(D)) W_v X`` and ``q = n(Y_1 + Y_2)``. A candidate is
    ``n(sum_t P_t c)``: it never sees a query.

    The first projections are the identity, those that `grow` adds and W_o are zero: neither a new model nor a
    new domain changes anything. Each domain trains its own P, Q and context, and the attention.

    Args:
        context: learnt vectors for each domain.

    Raises:
        ValueError: fewer than no vectors.

    What is trained: ``(2 D + 2 + context) D`` numbers for each domain, ``4 D^2`` for all.

    Reference:
        Zhou et al., "Learning without Forgetting for Vision-Language Models" (PROOF), TPAMI 2025,
        arXiv:2305.19270. The paper classifies: its rows are a picture, the names and the prototypes of all
        classes, and the context.

    Example:
        >>> composer = DomainProjections(context=1)
        >>> composer.build(2)
        >>> image = ImageFeatures(pooled=torch.tensor([[3.0, 0.0]]))
        >>> text = TextFeatures(pooled=torch.tensor([[0.0, 4.0]]))
        >>> composer(image, text).detach()
        tensor([[0.7071, 0.7071]])
    """

    grows = True

    def __init__(self, context: int = 3) -> None:
        super().__init__()
        if context < 0:
            raise ValueError(f"context must be at least 0, not {context}")
        self.context = context
        self.pictures, self.texts = nn.ModuleList(), nn.ModuleList()
        self.contexts = nn.ParameterList()

    def build(self, embed_dim: int) -> None:
        """Make the attention and the projections of the first domain."""
        self.query, self.key, self.value, self.output = (
            nn.Linear(embed_dim, embed_dim, bias=False) for _ in range(4)
        )
        nn.init.zeros_(self.output.weight)
        self._add(embed_dim)
        for projections in (self.pictures, self.texts):
            nn.init.eye_(projections[0].weight)  # type: ignore[arg-type]

    def _add(self, width: int) -> None:
        where = self.output.weight
        for projections in (self.pictures, self.texts):
            made = nn.Linear(width, width, device=where.device)
            for parameter in made.parameters():
                nn.init.zeros_(parameter)
            projections.append(made)
        if self.context:
            rows = torch.randn(self.context, width, device=where.device) / math.sqrt(width)
            self.contexts.append(nn.Parameter(rows))

    def grow(self) -> None:
        for part in (self.pictures, self.texts, self.contexts):
            part.requires_grad_(False)
        self._add(self.output.in_features)

    def target(self, image: ImageFeatures) -> Tensor:
        return torch.stack([projection(image.pooled) for projection in self.pictures]).sum(0)

    def forward(self, image: ImageFeatures, text: TextFeatures) -> Tensor:
        """Return (B, D) unit rows."""
        words = torch.stack([projection(text.pooled) for projection in self.texts]).sum(0)
        sides = torch.stack([normalize(self.target(image), dim=-1), normalize(words, dim=-1)], dim=1)
        around = [rows.expand(len(sides), -1, -1) for rows in self.contexts]
        rows = torch.cat([sides, *around], dim=1)
        scores = self.query(sides) @ self.key(rows).transpose(1, 2) / math.sqrt(rows.shape[-1])
        fused = sides + self.output(scores.softmax(dim=-1) @ self.value(rows))
        return normalize(fused.sum(dim=1), dim=-1)
