"""Losses that keep all experts of a learned gate in use, and what says whether they are."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["evenness", "importance_variation", "load_balance", "z_loss"]


def importance_variation(gates: Tensor) -> Tensor:
    """The squared coefficient of variation of the summed gates: var_e(I) / mean_e(I)^2, I_e = sum_b g_be.

    Args:
        gates: (B, E), zero where an expert is not used.

    References:
        Shazeer et al., "Outrageously Large Neural Networks", ICLR 2017, arXiv 1701.06538; the variance is the
        biased one.

    Example:
        >>> importance_variation(torch.tensor([[1.0, 0.0], [1.0, 0.0]])).item()
        1.0
    """
    importance = gates.float().sum(dim=0)
    return importance.var(correction=0) / importance.mean().square().clamp_min(1e-12)


def load_balance(probabilities: Tensor, chosen: Tensor) -> Tensor:
    """``E sum_e f_e P_e``: 1 where all experts are used alike, E where one is used alone.

    f_e is the share of choices that fell on expert e, which has no gradient, P_e its mean probability.

    Args:
        probabilities: (B, E), softmax of the gate's logits over all experts.
        chosen: (B, k), the experts that are used.

    References:
        Fedus et al., "Switch Transformers", JMLR 2022, arXiv 2101.03961.

    Example:
        >>> load_balance(torch.full((4, 2), 0.5), torch.tensor([[0], [1], [0], [1]])).item()
        1.0
    """
    experts = probabilities.shape[1]
    share = torch.bincount(chosen.flatten(), minlength=experts) / chosen.numel()
    return experts * (share.to(probabilities) * probabilities.mean(0)).sum()


def z_loss(logits: Tensor) -> Tensor:
    """``mean_b (log sum_e exp l_be)^2``: keeps a gate's logits (B, E) small.

    References:
        Zoph et al., "ST-MoE", arXiv 2202.08906.

    Example:
        >>> z_loss(torch.zeros(3, 1)).item()
        0.0
    """
    return torch.logsumexp(logits, dim=-1).square().mean()


def evenness(shares: Tensor) -> float:
    """The entropy of the experts' mean shares as a part of the largest possible: 1 where all are used alike.

    Args:
        shares: (B, N), rows of sum 1, or of zeros for inputs that go to no expert.

    Example:
        >>> evenness(torch.eye(4)), evenness(torch.tensor([[1.0, 0.0]]))
        (1.0, 0.0)
    """
    used = shares.double().sum(0)
    if shares.shape[1] < 2 or not float(used.sum()) > 0:
        return 1.0
    p = used / used.sum()
    entropy = -torch.xlogy(p, p).sum() / torch.log(torch.tensor(float(len(p)), dtype=p.dtype))
    return round(float(entropy), 12) + 0.0
