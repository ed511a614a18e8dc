"""Pictures of stored examples broken up into regions, and put together anew from those of several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Generator, Tensor

from clplat.errors import UserError

__all__ = ["broken_up", "reorganised", "same_text"]


def broken_up(row: Mapping[str, Any], grid: int, kept: int, draw: Generator) -> dict[str, Any]:
    """A row of `Batch.rows` with some regions of its pictures in place of their pixels.

    Args:
        row: of an example.
        grid: regions (grid x grid) of equal size in a picture.
        kept: regions that stay, at the same places in all pictures of the example.
        draw: chooses them.

    Raises:
        UserError: pictures that are no multiple of ``grid`` wide.
    """
    pictures = row["item"]["pictures"]
    cells = torch.randperm(grid * grid, generator=draw)[:kept].sort().values
    pixels = [None if whole is None else _regions(whole, grid)[cells] for whole in pictures["pixels"]]
    return {**row, "item": {**row["item"], "pictures": {**pictures, "pixels": pixels, "cells": cells}}}


def _regions(picture: Tensor, grid: int) -> Tensor:
    """(3, S, S) -> (grid^2, 3, S / grid, S / grid), row by row."""
    channels, size, _ = picture.shape
    if size % grid:
        raise UserError(f"pictures of {size} pixels do not divide into {grid} x {grid} regions")
    side = size // grid
    cut = picture.reshape(channels, grid, side, grid, side)
    return cut.permute(1, 3, 0, 2, 4).reshape(grid * grid, channels, side, side)


def _whole(regions: Tensor, grid: int) -> Tensor:
    """The inverse of `_regions`."""
    _, channels, side, _ = regions.shape
    cut = regions.reshape(grid, grid, channels, side, side).permute(2, 0, 3, 1, 4)
    return cut.reshape(channels, grid * side, grid * side)


def same_text(rows: Sequence[Mapping[str, Any]]) -> list[list[int]]:
    """For each row those that say the same of as many pictures, itself among them."""
    names = []
    for row in rows:
        ids = [None if said is None else tuple(said.tolist()) for said in row["item"]["texts"]["ids"]]
        names.append((*ids, *(pixels is None for pixels in row["item"]["pictures"]["pixels"])))
    return [[j for j, other in enumerate(names) if other == own] for own in names]


def reorganised(rows: Sequence[Mapping[str, Any]], grid: int, draw: Generator) -> dict[str, Any]:
    """One example of the regions of several that say the same: each place from one that holds it.

    The same example gives a region to reference and target, so that the text stays true of them. A place that
    nobody holds takes a region of the first example. The label names all that gave.

    Args:
        rows: from `broken_up`.
        grid: as there.
        draw: chooses among those that hold a place.
    """
    first, held = rows[0], [row["item"]["pictures"]["cells"].tolist() for row in rows]
    chosen: list[tuple[int, int]] = []
    for cell in range(grid * grid):
        holders = [(i, cells.index(cell)) for i, cells in enumerate(held) if cell in cells]
        holders = holders or [(0, cell % len(held[0]))]
        chosen.append(holders[int(torch.randint(len(holders), (1,), generator=draw))])
    pictures = [row["item"]["pictures"] for row in rows]
    pixels = [
        None if whole is None else _whole(torch.stack([pictures[i]["pixels"][n][r] for i, r in chosen]), grid)
        for n, whole in enumerate(pictures[0]["pixels"])
    ]
    gave = sorted({i for i, _ in chosen})
    labels = [
        "+".join(sorted({rows[i]["candidate"]["labels"][n] for i in gave}))
        for n in range(len(first["candidate"]["labels"]))
    ]
    names = [
        None if whole is None else "+".join(str(pictures[i]["names"][n]) for i, _ in chosen)
        for n, whole in enumerate(pixels)
    ]
    made = {"names": names, "pixels": pixels, "kind": ""}  # nothing is kept of what was never a picture
    candidate = {**first["candidate"], "labels": labels}
    return {**first, "candidate": candidate, "item": {**first["item"], "pictures": made}}
