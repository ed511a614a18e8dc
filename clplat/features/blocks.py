"""Rows of a table in the memory of this process: as bytes, so that every dtype and shape is handled alike."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["Block", "as_bytes", "gather"]


@dataclass(eq=False)
class Block:
    """Rows (N, bytes of a row) that lie together: in memory, or mapped from a segment."""

    rows: NDArray[np.uint8]
    segment: str = ""  # the name of its file
    foreign: bool = False  # this process did not write it


def as_bytes(rows: Tensor) -> NDArray[np.uint8]:
    """The bytes (N, bytes of a row) of rows (N, *shape), in the same memory where they lie together."""
    flat = rows.reshape(len(rows), math.prod(rows.shape[1:])).view(torch.uint8)
    array: NDArray[np.uint8] = flat.numpy()
    return array


def gather(places: Sequence[tuple[Block, int]], shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """A fresh tensor (N, *shape) of at least one row, each by its block and its place in there.

    Example:
        >>> block = Block(as_bytes(torch.tensor([[1.0, 2.0], [3.0, 4.0]])))
        >>> gather([(block, 1), (block, 0)], (2,), torch.float32)
        tensor([[3., 4.],
                [1., 2.]])
    """
    result = torch.empty((len(places), *shape), dtype=dtype, device="cpu")
    np.concatenate([block.rows[place] for block, place in places], out=as_bytes(result).reshape(-1))
    return result
