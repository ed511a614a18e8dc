"""Prototypes of classes: moving means of unit rows, and the loss that draws rows to those of their class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize

__all__ = ["follow", "ppp_loss"]


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
    fixed = rows.detach()
    among = (fixed @ rows.T / temperature).exp()  # [m, i]
    to_prototypes = (prototypes.detach() @ rows.T / temperature).exp()  # [k, i]
    of_class = to_prototypes[own]  # [m, i]: prototype of m's class, row i
    others = to_prototypes.sum(0) - of_class
    pseudo, proper = among / (among + others), of_class / (of_class + others)
    same = own[:, None] == own
    itself = torch.eye(len(rows), dtype=torch.bool, device=rows.device)
    attracted = (pseudo.masked_fill(~same | itself, 0.0).sum(0) + proper.diagonal()) / same.sum(0)
    repelled = torch.log1p(-(pseudo + proper) / 2).masked_fill(same, 0.0)
    return -(attracted.log().sum() + repelled.sum()) / len(rows)


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
