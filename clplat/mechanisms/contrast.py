"""The contrastive loss of rows that answer each other, for objectives that parts add to a training step."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize

__all__ = ["alike", "cosines", "nce", "semi_hard"]


def alike(names: Sequence[str], device: torch.device | None = None) -> Tensor:
    """Which of these are the same (N, N), bool.

    Example:
        >>> alike(["a", "b", "a"])[0].tolist()
        [True, False, True]
    """
    number = {name: i for i, name in enumerate(dict.fromkeys(names))}
    numbers = torch.tensor([number[name] for name in names], device=device)
    return numbers[:, None] == numbers


def cosines(query: Tensor, items: Tensor) -> Tensor:
    """Cosines (N, M) of rows (N, D) and (M, D)."""
    return normalize(query, dim=-1) @ normalize(items, dim=-1).T


def nce(logits: Tensor, positive: Tensor | None = None) -> Tensor:
    """The mean over rows of the cross-entropy of logits (N, N): all positives of a row count alike.

    Args:
        positive: (N, N), which columns answer a row; the diagonal unless given.

    Example:
        >>> nce(2.0 * torch.eye(2))
        tensor(0.1269)
    """
    if positive is None:
        positive = torch.eye(len(logits), dtype=torch.bool, device=logits.device)
    share = positive.to(logits.dtype)
    share = share / share.sum(1, keepdim=True)
    return -(share * logits.log_softmax(1)).sum(1).mean()


def semi_hard(cosines: Tensor, positive: Tensor, margin: float) -> Tensor:
    """Hinges of squared distances of unit rows, in both directions: each row against one wrong column.

    That is the nearest one which is no nearer than the right one, which stands on the diagonal; a row without
    any adds nothing.

    Args:
        cosines: (N, N).
        positive: (N, N) bool, columns that are not wrong.
        margin: of the hinges.

    Reference:
        Schroff et al., "FaceNet", CVPR 2015, arXiv:1503.03832.

    Example:
        >>> scores = torch.tensor([[0.9, 0.85], [0.0, 1.0]])
        >>> semi_hard(scores, torch.eye(2, dtype=torch.bool), 0.2)
        tensor(0.0500)
    """
    total = cosines.new_zeros(())
    for apart, same in ((2.0 - 2.0 * cosines, positive), (2.0 - 2.0 * cosines.T, positive.T)):
        right = apart.diagonal()
        nearest = apart.masked_fill(same | (apart < right[:, None]), torch.inf).amin(1)
        total = total + (right - nearest + margin).clamp(min=0.0).mean()
    return total
