"""Prototypes of classes: moving means of unit rows, and the loss that draws rows to those of their class."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, normalize

from clplat.mechanisms.examples import tensor_bytes

__all__ = ["Bank", "follow", "ppp_loss"]


def ppp_loss(rows: Tensor, own: Tensor, prototypes: Tensor, temperature: float = 0.1) -> Tensor:
    """The pseudo-prototypical proxy loss: rows of a batch stand beside the prototypes of their classes.

    With ``e(a, b) = exp(a . b / T)``, ``O_c(x) = sum_{k != c} e(p_k, x)`` and
    ``P(m; c, x) = e(m, x) / (e(m, x) + O_c(x))``, the loss is the mean over the rows x_i, of class c, of

    * ``-log mean_m P(m; c, x_i)``, m the prototype p_c and the other rows of class c: they attract;
    * ``-sum_j log(1 - (P(x_i; c, x_j) + P(p_c; c, x_j)) / 2)``, x_j the rows of other classes: they repel.

    What a row is compared with has no gradient.

    Args:
        rows: (N, D), unit rows.
        own: (N,), the class of each, a row of the prototypes.
        prototypes: (K, D), unit rows.
        temperature: T.

    References:
        De Lange & Tuytelaars 2021 (CoPE), Continual Prototype Evolution, arXiv 2009.00919.

    Example:
        >>> ppp_loss(torch.eye(2), torch.tensor([0, 1]), torch.eye(2), temperature=0.5)
        tensor(0.2539)
    """
    if len(prototypes) == 1:
        return 0.0 * rows.sum()  # no other class: every P is 1
    to_prototypes = prototypes.detach() @ rows.T / temperature  # [k, i]
    others = _without(to_prototypes, own)  # [m, i]: log O of m's class at row i
    pseudo = rows.detach() @ rows.T / temperature - others  # log-odds of P, [m, i]
    proper = to_prototypes[own] - others
    same = own[:, None] == own
    itself = torch.eye(len(rows), dtype=torch.bool, device=rows.device)
    mates = logsigmoid(pseudo).masked_fill(~same | itself, -torch.inf)
    attracted = torch.cat([mates, logsigmoid(proper).diagonal()[None]]).logsumexp(0) - same.sum(0).log()
    repelled = torch.logaddexp(logsigmoid(-pseudo), logsigmoid(-proper)) - math.log(2)
    return -(attracted.sum() + repelled.masked_fill(same, 0.0).sum()) / len(rows)


def _without(scores: Tensor, own: Tensor) -> Tensor:
    """``log sum_k exp(scores[k, i])`` over all k but ``own[m]``, for every m and i.

    The largest term is taken out before the sum: as a difference, what the others add up to is lost to
    rounding.
    """
    best, top = scores.max(0)
    is_top = torch.arange(len(scores), device=scores.device)[:, None] == top
    rest = scores.masked_fill(is_top, -torch.inf).logsumexp(0)
    is_own_top = own[:, None] == top
    shifted = (scores - best.detach()).exp()
    left = (shifted.sum(0) - shifted[own]).masked_fill(is_own_top, 1.0)
    return torch.where(is_own_top, rest, left.log() + best.detach())


@torch.no_grad()
def follow(
    held: Mapping[str, Tensor], names: Sequence[str], rows: Tensor, momentum: float
) -> dict[str, Tensor]:
    """Prototypes moved to the rows of their classes: ``p_c <- unit(momentum p_c + (1 - momentum) mean_c)``.

    Args:
        held: by the name of the class; one that is new begins at its mean.
        names: (N) of the class of each row.
        rows: (N, D), unit rows.
        momentum: between 0 and 1.
    """
    found = dict(held)
    for name in dict.fromkeys(names):
        mean = normalize(rows[[i for i, own in enumerate(names) if own == name]].float().mean(0), dim=0)
        earlier = found.get(name, mean)
        found[name] = normalize(momentum * earlier.to(mean) + (1 - momentum) * mean, dim=0)
    return found


class Bank:
    """Prototypes of two sides, query and target, by the name of what they show; those of one model.

    Args:
        momentum: of the prototypes, see `follow`.
        size: names at most; the oldest are given up.

    Example:
        >>> bank = Bank(momentum=0.5, size=1)
        >>> bank.take(["a", "b"], torch.eye(2), torch.eye(2))
        >>> [*bank.held], bank.held["b"].tolist()
        (['b'], [[0.0, 1.0], [0.0, 1.0]])
    """

    def __init__(self, momentum: float, size: int) -> None:
        if not (0 <= momentum <= 1 and size >= 1):
            raise ValueError(f"momentum must be in [0, 1] and size at least 1, not {momentum} and {size}")
        self.momentum, self.size = momentum, size
        #: Unit rows (2, D) of query and target.
        self.held: dict[str, Tensor] = {}

    def seen_with(self, names: Sequence[str], queries: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """What is held; a name that is not begins at its mean in this batch."""
        return _paired(names, queries, targets, {}, 0.0) | self.held

    def take(self, names: Sequence[str], queries: Tensor, targets: Tensor) -> None:
        """Move to the unit rows (N, D) of a batch."""
        found = _paired(names, queries, targets, self.held, self.momentum)
        self.held = dict([*found.items()][-self.size :])

    def bytes(self) -> int:
        """Bytes of the prototypes."""
        return tensor_bytes([*self.held.values()])

    def state_dict(self) -> dict[str, Any]:
        rows = torch.stack([*self.held.values()]) if self.held else torch.empty(0)
        return {"names": [*self.held], "rows": rows}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.held = dict(zip(state["names"], state["rows"], strict=True))


def _paired(
    names: Sequence[str], queries: Tensor, targets: Tensor, held: Mapping[str, Tensor], momentum: float
) -> dict[str, Tensor]:
    sides = [
        follow({name: pair[side] for name, pair in held.items()}, names, rows, momentum)
        for side, rows in enumerate((queries, targets))
    ]
    return {name: torch.stack([side[name] for side in sides]) for name in sides[0]}
