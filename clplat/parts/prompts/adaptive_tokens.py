"""Several learned ends of every text, each of which makes a part of the embedding: CAMP."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from torch import Tensor, nn

from clplat.config.space import Float, Int
from clplat.mechanisms.prompt_inputs import pairwise_cosine
from clplat.mechanisms.prompt_sources import check_tower
from clplat.models.backbone import Backbone
from clplat.models.prompt import TowerPrompt
from clplat.parts.prompts._base import Prompt

__all__ = ["AdaptiveTokens"]


class AdaptiveTokens(Prompt):
    """CAMP: K learned tokens in the place of the EOT of every text, each with a K-th of the embedding.

        f = [P f_1]_1 ... [P f_K]_K

    f_k is what the tower makes of the k-th token behind the words, P the tower's projection into the joint
    space, and ``[.]_k`` the k-th part of the D dimensions. The tokens do not see each other: one pass of the
    tower computes all (`clplat.models.text_tails`). They start near the EOT, where f is what it was before.

    ``diversity * mean_{k != l} cos(P f_k, P f_l)`` is added to the loss.

    Args:
        tokens: K.
        std: of the noise by which they start apart; 0 leaves embeddings as they were.
        diversity: weight of the mean cosine of any two of a text's features.

    Raises:
        ValueError: no token, or a negative number.

    What is trained: ``tokens * text_width`` numbers. Needs: a causal text tower.
    Relations: with the strategy ``negated_texts``, the paper's third loss.

    References:
        Kim and Angelova 2025, Context-Adaptive Multi-Prompt Embedding with Large Language Models for
        Vision-Language Alignment, arXiv 2508.02762.

    Example:
        >>> from clplat.testing.tiny import tiny_backbone
        >>> AdaptiveTokens(tokens=3).attach(tiny_backbone())
        ['text_prompt.vectors']
    """

    def __init__(
        self,
        tokens: Annotated[int, Int(2, 8)] = 4,
        std: float = 0.02,
        diversity: Annotated[float, Float(0.01, 1.0, log=True)] = 0.1,
    ) -> None:
        if tokens < 1 or min(std, diversity) < 0:
            raise ValueError(
                f"tokens must be at least 1, std and diversity at least 0, not {tokens}, {std}, {diversity}"
            )
        self.tokens, self.std, self.diversity = tokens, std, diversity

    def attach(self, backbone: Backbone) -> list[str]:
        """Install the tokens as ``backbone.text_prompt``; noise is drawn from torch's generator.

        Raises:
            UserError: the tower takes no prompt or has one.
        """
        check_tower(backbone, "text")
        ids = backbone.tokenize(["a"]).to(backbone.logit_scale.device)
        end = backbone.embed_text(ids, bare=True)[0, int(backbone.text_ends(ids)[0])].detach().cpu()
        noise = self.std * torch.randn(self.tokens, backbone.text_width)
        backbone.text_prompt = _Ends(end + noise, self.diversity).to(backbone.logit_scale)
        return ["text_prompt.vectors"]


class _Ends(TowerPrompt):
    """The tokens, and the features that they made of the texts of a training step."""

    length = 0

    def __init__(self, vectors: Tensor, diversity: float) -> None:
        super().__init__()
        self.vectors, self.diversity = nn.Parameter(vectors), diversity
        self.alike: Tensor | None = None

    def forward(self, layer: int) -> Tensor | None:
        return None

    def tails(self) -> Tensor | None:
        return self.vectors

    def joined(self, rows: Tensor) -> Tensor:
        if self.training and torch.is_grad_enabled() and self.diversity and rows.shape[1] > 1:
            self.alike = pairwise_cosine(rows)  # of the last pass: a strategy may make others
        parts = torch.arange(rows.shape[2], device=rows.device).tensor_split(rows.shape[1])
        return torch.cat([rows[:, k, own] for k, own in enumerate(parts)], dim=1)

    def terms(self, batch: Any, outputs: Any) -> dict[str, Tensor]:
        """``diversity``, of the texts of a training step."""
        alike, self.alike = self.alike, None
        if alike is None or not len(batch.texts):
            return {}
        return {"diversity": self.diversity * alike.mean()}
