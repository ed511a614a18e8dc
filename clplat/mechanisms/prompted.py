"""Scores from prompts at inference: descriptions of classes, opposites, branches by their certainty."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

__all__ = ["antonym_share", "described", "fused_by_certainty"]


def described(rows: Tensor, descriptions: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """Scores (N, C) of unit rows (N, D) with classes: the mean cosine with each class's descriptions.

    The mean of the cosines, not the cosine with the mean's direction: descriptions that disagree make a
    class less sure.

    Args:
        descriptions: class -> embeddings (K, D) of what it looks like.

    Returns:
        The scores, in the order of the classes, and by class the cosine with each description (N, K), which
        explains them.

    Reference:
        Menon and Vondrick, "Visual Classification via Description from Large Language Models", ICLR 2023,
        arXiv:2210.07183.

    Example:
        >>> told = {"hen": torch.eye(2), "fox": torch.tensor([[0.6, 0.8]])}
        >>> described(torch.tensor([[0.0, 1.0]]), told)[0]
        tensor([[0.5000, 0.8000]])
    """
    why = {name: rows @ told.T for name, told in descriptions.items()}
    return torch.stack([cosines.mean(1) for cosines in why.values()], 1), why


def antonym_share(rows: Tensor, good: Tensor, bad: Tensor, scale: float = 100.0) -> Tensor:
    """How far unit rows (N, D) lie towards one of two opposite prompts (D,): the softmax of the pair, (N,).

    Reference:
        Wang et al., "Exploring CLIP for Assessing the Look and Feel of Images" (CLIP-IQA), AAAI 2023,
        arXiv:2207.12396: a pair says what one prompt alone does not, since "good" is near to most pictures.

    Example:
        >>> antonym_share(torch.eye(2), torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]), scale=1.0)
        tensor([0.7311, 0.2689])
    """
    return torch.sigmoid(scale * (rows @ good - rows @ bad))


def fused_by_certainty(branches: Sequence[Tensor], *, counts: Tensor | None = None) -> Tensor:
    """The mean of distributions (N, C) of several branches, each weighted by its certainty for that row.

    The certainty is ``1 - entropy / log C``: a flat distribution does not count, and where all are flat, all
    count alike. Weights sum to one row by row; the public code divides by the certainties of all rows that it
    has seen so far, so that a row's answer depends on those before it.

    Args:
        branches: distributions (N, C) of each.
        counts: classes that a row has (N,); all C by default.

    Reference:
        Eom et al., "Cross-Modal Retrieval Meets Inference: Improving Zero-Shot Classification with
        Cross-Modal Retrieval" (X-MoRe), 2023, arXiv:2308.15273, whose branches are the picture and texts
        retrieved for it.

    Example:
        >>> fused_by_certainty([torch.tensor([[1.0, 0.0]]), torch.tensor([[0.5, 0.5]])]).round(decimals=3)
        tensor([[1., 0.]])
    """
    stacked = torch.stack([*branches])
    entropy = -torch.special.xlogy(stacked, stacked).sum(2)
    classes = torch.full((stacked.shape[1],), stacked.shape[2]) if counts is None else counts
    certainty = (1.0 - entropy / classes.clamp(min=2).log()).clamp(min=1e-6)
    fused: Tensor = (certainty[..., None] * stacked).sum(0) / certainty.sum(0)[:, None]
    return fused
