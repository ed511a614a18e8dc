"""Sparse mixtures of experts: gates, the mixture, losses that keep all experts in use, and measures."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

__all__ = ["entropy", "load", "load_balance", "mixed", "router_z", "top_k_gates", "variation"]


def top_k_gates(logits: Tensor, k: int) -> Tensor:
    """The weights (N, E) of E experts: the softmax over the k largest of each row's logits, zero elsewhere.

    They sum to one, so that a mixture of equal experts is one of them. With k = 1 the gate is the constant 1:
    nothing but a balance loss trains the router then.

    Example:
        >>> top_k_gates(torch.tensor([[0.0, 5.0, 0.0], [1.0, 1.0, 0.0]]), 2).sum(dim=1)
        tensor([1., 1.])
    """
    best, chosen = logits.topk(k, dim=-1)
    gates = torch.zeros(logits.shape, dtype=best.dtype, device=logits.device)
    return gates.scatter(1, chosen, best.softmax(dim=-1))


def mixed(h: Tensor, gates: Tensor, experts: Sequence[Callable[[Tensor], Tensor]]) -> Tensor:
    """The sum of what experts make of rows (N, W), weighted by gates (N, E).

    Where gradients are recorded, an expert computes the rows with a gate above zero only. Without them it
    computes all: a product of fewer rows rounds otherwise, and what is kept of an item must not depend on its
    company.
    """
    out = torch.zeros_like(h)
    for e, expert in enumerate(experts):
        if not torch.is_grad_enabled():
            out = out + gates[:, e, None] * expert(h)
            continue
        rows = (gates[:, e] > 0).nonzero()[:, 0]
        if len(rows):
            out = out.index_add(0, rows, (gates[rows, e, None] * expert(h[rows])).to(out.dtype))
    return out


def variation(gates: Tensor) -> Tensor:
    """The squared coefficient of variation of the summed gates (N, E): 0 where all experts weigh the same.

    Reference:
        The importance loss of Shazeer et al. 2017, arXiv:1701.06538.
    """
    importance = gates.float().sum(dim=0)
    return importance.var(correction=0) / importance.mean().square().clamp_min(1e-12)


def load_balance(logits: Tensor, k: int) -> Tensor:
    """``E * sum_e f_e p_e`` of logits (N, E): k where all experts are used alike, more elsewhere.

    ``f_e`` is the share of rows with expert e among their k best, which has no gradient, ``p_e`` its mean
    probability over all experts.

    Reference:
        Fedus et al. 2021 (Switch Transformer), arXiv:2101.03961; with k above 1 as in Mixtral's code.

    Example:
        >>> round(float(load_balance(torch.eye(4), 1)), 6)
        1.0
    """
    chosen = logits.topk(k, dim=-1).indices
    share = torch.zeros_like(logits).scatter(1, chosen, 1.0).float().mean(dim=0)
    return logits.shape[1] * (share * logits.float().softmax(dim=-1).mean(dim=0)).sum()


def router_z(logits: Tensor) -> Tensor:
    """The mean over rows of ``logsumexp(logits)^2``, which keeps the logits (N, E) small.

    Reference:
        Zoph et al. 2022 (ST-MoE), arXiv:2202.08906.
    """
    return logits.float().logsumexp(dim=-1).square().mean()


def load(gates: Tensor) -> Tensor:
    """The share (E,) of all choices that each expert has, of gates (N, E); they sum to one."""
    chosen = (gates > 0).float().sum(dim=0)
    return chosen / chosen.sum()


def entropy(logits: Tensor) -> Tensor:
    """How undecided a router is: the mean entropy of its probabilities, from 0 to 1 (all experts alike)."""
    chances = logits.float().log_softmax(dim=-1)
    spread = -(chances.exp() * chances).sum(dim=-1).mean()
    return spread / torch.tensor(float(logits.shape[1])).log()
