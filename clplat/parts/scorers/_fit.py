"""Which parts a scorer can work with."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from clplat.errors import UserError
from clplat.parts.scorers._base import Scorer

__all__ = ["refuse_misfits"]


def refuse_misfits(
    scorer: Scorer, composer: nn.Module, composed: frozenset[str], others: Mapping[str, nn.Module | None]
) -> None:
    """Several vectors an item are no embedding for a head or a projection.

    Args:
        scorer: of the model.
        composer: of the model; composed: what it reads.
        others: slot -> part that takes one vector an item.

    Raises:
        UserError: a part that the scorer cannot work with.
    """
    name = type(scorer).__name__
    if more := composed - scorer.composes:
        raise UserError(
            f"composer {type(composer).__name__} reads {', '.join(sorted(more))}, but scorer {name} composes "
            f"{', '.join(sorted(scorer.composes))} features only; choose another of the two"
        )
    for slot, part in others.items():
        if part is not None and not scorer.single:
            empty = {"head": "none", "projection": "identity"}[slot]
            raise UserError(
                f"scorer {name} has several vectors an item, which {slot} {type(part).__name__} cannot take; "
                f"choose --{slot} {empty} or --scorer dot"
            )
