"""Which parts a scorer can work with, and a retriever that scores by another one for a while."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import nn

from clplat.errors import UserError
from clplat.models.features import POOLED, checked_wants
from clplat.parts.scorers._base import Scorer

__all__ = ["note_wants", "refuse_misfits", "scoring_by"]


def note_wants(retriever: Any, composer: Any, scorer: Scorer) -> frozenset[str]:
    """Write down what a retriever's parts read of each input; returns what its composer reads."""
    composed = [checked_wants(composer.wants.get(side, ())) for side in ("image", "text")]
    more = [checked_wants(scorer.wants.get(side, ())) for side in ("image", "text")]
    retriever.image_wants, retriever.text_wants = composed[0] | more[0], composed[1] | more[1]
    retriever.alone_wants, retriever.said_wants = POOLED | scorer.item_wants, POOLED | more[1]
    retriever.target_wants = checked_wants(composer.target_wants) | scorer.item_wants
    retriever.learns_from = {side: checked_wants(wants) for side, wants in composer.learns_from.items()}
    return composed[0] | composed[1]


@contextmanager
def scoring_by(retriever: Any, scorer: Scorer) -> Iterator[None]:
    """Inside, a retriever's rows are what another scorer makes of its towers and composer, without a head.

    Raises:
        UserError: the composer reads what the scorer cannot give it.
    """
    before = retriever.scorer, retriever.head
    composed = note_wants(retriever, retriever.composer, scorer)
    try:
        refuse_misfits(scorer, retriever.composer, composed, {})
        scorer.attach(retriever.towers)
        retriever.scorer, retriever.head = scorer, None
        yield
    finally:
        retriever.scorer, retriever.head = before
        note_wants(retriever, retriever.composer, retriever.scorer)


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
