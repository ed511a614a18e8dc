"""Parts of a candidate are looked at again: its cells, or the box of what is most like it (GLSim)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import Annotated, Literal

import torch
from PIL import Image
from torch import Tensor

from clplat.config.space import Choice, Float, Int
from clplat.data.records import Picture
from clplat.mechanisms.token_choice import box_of_best
from clplat.parts.postprocessors._base import PostProcessor, Shortlist

__all__ = ["Crops"]


class Crops(PostProcessor):
    """Reranks by ``s + weight * pool_c cos(q, c)``, c over the crops of a candidate's picture.

    ``pool best`` takes the best crop, ``mean`` all of them: with weight 1 a candidate is then its embeddings
    at two scales one behind the other, compared with the query twice. ``crops grid`` are ``grid * grid``
    cells; ``similar`` is one, the box around the ``top`` patches most like the whole picture. A candidate
    without a picture gets its own score in place of its crops'.

    Args:
        shortlist: candidates of each query.
        grid: a picture is cut into ``grid * grid`` parts of equal size.
        weight: of the parts.
        pool: ``best`` or ``mean``.
        crops: ``grid`` or ``similar``, which needs a vision transformer.
        top: patches that the box goes around.

    Raises:
        ValueError: a number below 1, a weight that is negative or no number, no such word.

    References:
        Chen et al., "CLIPRerank: An Extremely Simple Method for Improving Ad-hoc Video Search", 2024,
        arXiv:2401.08449, whose parts are the frames of a video and whose weight is 0.6 / 0.4. Shi et al.,
        "When Do We Not Need Larger Vision Models?" (S2), ECCV 2024, arXiv:2403.13043 (``mean``). Rios et al.,
        "Global-Local Similarity for Efficient Fine-Grained Image Recognition with Vision Transformers"
        (GLSim), 2024, arXiv:2407.12891 (``similar``).

    Example:
        >>> shoe = Picture("shoe", lambda: Image.new("RGB", (8, 8)))
        >>> [crop.key for crop in Crops(grid=2).parts(shoe)]
        ['shoe#0/2', 'shoe#1/2', 'shoe#2/2', 'shoe#3/2']
    """

    def __init__(
        self,
        shortlist: Annotated[int, Int(5, 50)] = 10,
        grid: Annotated[int, Int(1, 4)] = 2,
        weight: Annotated[float, Float(0.1, 4.0)] = 1.5,
        pool: Annotated[Literal["best", "mean"], Choice("best", "mean")] = "best",
        crops: Literal["grid", "similar"] = "grid",
        top: int = 8,
    ) -> None:
        if min(shortlist, grid, top) < 1:
            raise ValueError(f"shortlist, grid and top must be at least 1, not {shortlist}, {grid} and {top}")
        if not 0.0 <= weight < float("inf"):
            raise ValueError(f"weight must be a number of at least 0, not {weight}")
        if pool not in ("best", "mean") or crops not in ("grid", "similar"):
            raise ValueError(
                f"pool must be 'best' or 'mean' and crops 'grid' or 'similar', not '{pool}' and '{crops}'"
            )
        self.shortlist, self.grid, self.weight = shortlist, grid, weight
        self.pool, self.crops, self.top = pool, crops, top

    def rerank(self, found: Shortlist) -> Tensor:
        """New scores (Q, K); each crop of each distinct candidate is embedded once."""
        distinct = torch.unique(found.rows)
        shown = [row for row in distinct[distinct >= 0].tolist() if found.items[row].picture is not None]
        crops = self._similar(found, shown) if self.crops == "similar" else self._cells(found, shown)
        if not crops:
            return found.scores * (1.0 + self.weight)
        count, place = len(crops) // len(shown), {row: i for i, row in enumerate(shown)}
        embedded = found.images(crops).view(len(shown), count, -1)
        again = torch.full_like(found.scores, -torch.inf)
        for query, (rows, mine) in enumerate(zip(found.rows.tolist(), found.embedded, strict=True)):
            columns = [k for k, row in enumerate(rows) if row in place]
            if columns:
                cosines = embedded[[place[rows[k]] for k in columns]] @ mine
                again[query, columns] = cosines.amax(1) if self.pool == "best" else cosines.mean(1)
        again = torch.where(torch.isfinite(again), again, found.scores)
        found.spent.pairs += int((found.rows >= 0).sum()) * count
        return found.scores + self.weight * again

    def parts(self, picture: Picture) -> Iterator[Picture]:
        """The cells of a picture, row by row."""
        for part in range(self.grid**2):
            load = partial(_cell, picture, self.grid, part)
            yield Picture(f"{picture.key}#{part}/{self.grid}", load, stamp=picture.stamp)

    def _cells(self, found: Shortlist, rows: list[int]) -> list[Picture]:
        pictures = [found.items[row].picture for row in rows]
        return [part for picture in pictures if picture is not None for part in self.parts(picture)]

    def _similar(self, found: Shortlist, rows: list[int]) -> list[Picture]:
        """Of each candidate the box around the patches that are most like it."""
        if not rows or found.hold is None:
            return []
        items = [found.items[row] for row in rows]
        patches = found.patches(items)
        side, boxes = math.isqrt(patches.shape[1]), box_of_best(patches, found.hold(items), self.top).tolist()
        return [
            Picture(f"{whole.key}#{box}/{side}", partial(_box, whole, box, side), stamp=whole.stamp)
            for item, box in zip(items, boxes, strict=True)
            if (whole := item.picture) is not None
        ]


def _cell(picture: Picture, grid: int, part: int) -> Image.Image:
    whole = picture.load()
    row, column = divmod(part, grid)
    edges = [
        (whole.width * column // grid, whole.height * row // grid),
        (whole.width * (column + 1) // grid, whole.height * (row + 1) // grid),
    ]
    (left, top), (right, bottom) = edges
    return whole.crop((left, top, max(right, left + 1), max(bottom, top + 1)))


def _box(picture: Picture, box: list[int], side: int) -> Image.Image:
    """A box of patches (top, left, bottom, right) of the square in the middle, which is what towers see."""
    whole = picture.load()
    short = min(whole.size)
    corner = (whole.height - short) // 2, (whole.width - short) // 2
    top, left, bottom, right = (
        corner[i % 2] + (edge * short + (side - 1) * (i > 1)) // side for i, edge in enumerate(box)
    )
    return whole.crop((left, top, max(right, left + 1), max(bottom, top + 1)))
