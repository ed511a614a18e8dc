"""Experts merged into one set of weights, for as long as something is computed with them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

import torch
from torch import Tensor

from clplat.models.backbone import Backbone

__all__ = ["changes_of", "merged", "mixes_of"]

#: What an expert adds to the base weights, by their names.
Changes: TypeAlias = Mapping[str, Tensor]


def mixes_of(shares: Tensor, parts: int = 10) -> tuple[Tensor, Tensor]:
    """The distinct mixes of experts among inputs (M, N), and which of them each input has (B,).

    Shares are rounded, so that inputs that are alike go through the same weights.

    Args:
        shares: of each expert in each input (B, N), rows of sum 1 or of zeros.
        parts: a share is a multiple of one part, before rows are made to sum to 1 again.

    Example:
        >>> mixes, place = mixes_of(torch.tensor([[0.52, 0.48], [1.0, 0.0], [0.49, 0.51]]))
        >>> mixes.tolist(), place.tolist()
        ([[0.5, 0.5], [1.0, 0.0]], [0, 1, 0])
    """
    rounded = (shares * parts).round()
    sums = rounded.sum(1, keepdim=True)
    # Of many small shares none may be left: then each input keeps its own.
    rounded = torch.where(
        (sums == 0) & (shares.sum(1, keepdim=True) > 0), shares, rounded / sums.clamp_min(1)
    )
    mixes, place = torch.unique(rounded, dim=0, return_inverse=True)
    return mixes, place


def changes_of(
    backbone: Backbone, activate: Callable[[Any, str | None], None], names: Sequence[str]
) -> list[Changes]:
    """What each expert adds to the base weights; the bare base is in use afterwards.

    Raises:
        UserError: an expert's weights cannot be read.
    """
    found: list[Changes] = []
    for name in names:
        activate(backbone, name)
        found.append(backbone.adapters.deltas(backbone.model))
    activate(backbone, None)
    return found


@contextmanager
def merged(backbone: Backbone, changes: Sequence[Changes], mix: Sequence[float]) -> Iterator[None]:
    """Inside, the backbone computes with ``W + sum_e mix_e dW_e``; afterwards with the same bits as before.

    Args:
        backbone: of which no adapter is in use.
        changes: dW of each expert, as of `changes_of`.
        mix: the share of each.
    """
    weights = {backbone.adapters.base_key(name): p for name, p in backbone.model.named_parameters()}
    before: dict[str, Tensor] = {}
    try:
        for change, share in zip(changes, mix, strict=True):
            for name, delta in change.items() if share else ():
                before.setdefault(name, weights[name].data)
                weights[name].data = weights[name].data + share * delta.to(weights[name].data)
        yield
    finally:
        for name, data in before.items():
            weights[name].data = data
