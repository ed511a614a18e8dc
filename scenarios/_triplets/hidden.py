"""Rows without a right answer: whole sets whose labels are hidden, and nothing else."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from pyarrow import compute as pc

from clplat.errors import UserError

from .cells import TEXT, first_row

__all__ = ["is_hidden", "refuse_half_hidden"]


def is_hidden(rows: Any) -> bool:
    """Whether the rows of a domain and split name no answer at all."""
    return not pc.any(pc.greater(pc.list_value_length(rows.column("targets")), 0)).as_py()


def refuse_half_hidden(rows: Any, where: str) -> None:
    """Refuse rows without a target to train on, and sets of which some have one and some have none.

    Raises:
        UserError: such a row, by its number.
    """
    lacks = pc.equal(pc.list_value_length(rows.column("targets")), 0)
    train = pc.and_(lacks, pc.equal(rows.column("split"), "train"))
    if pc.any(train).as_py():
        raise UserError(f"{where}, row {first_row(train) + 1}: it has no target, and its split is train")
    place = pc.binary_join_element_wise(rows.column("split"), rows.column("domain"), pa.scalar("/", TEXT))
    answered = pc.unique(place.filter(pc.invert(lacks)))
    half = pc.and_(lacks, pc.is_in(place, answered))
    if pc.any(half).as_py():
        row = first_row(half)
        raise UserError(
            f"{where}, row {row + 1}: it has no target, but other rows of '{place[row]}' have one: the "
            "labels of a set are hidden as a whole"
        )
