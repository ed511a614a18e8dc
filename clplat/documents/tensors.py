"""Files of named tensors: what a run stored of its galleries, anchors and measured values."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from torch import Tensor

from clplat.documents.checked import checked
from clplat.errors import UserError
from clplat.trees import load_tree

__all__ = ["read_tensors"]


def read_tensors(path: Path, what: str, names: Collection[str] = ()) -> dict[str, Tensor]:
    """The tensors of a file.

    Args:
        path: of the file.
        what: it should hold, for the error: ``"stored gallery"``.
        names: that are asked for; more may be there.

    Raises:
        UserError: it is missing, damaged, holds something else, or lacks a name.
    """
    found: dict[str, Tensor] = checked(load_tree(path), dict[str, Tensor], path, what)
    if missing := [name for name in names if name not in found]:
        raise UserError(f"{path} is no {what}: it lacks '{missing[0]}'")
    return found
