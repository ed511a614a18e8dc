"""CLIPRerank: the best match of a query with any part of a candidate is added to its score."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Annotated

import torch
from PIL import Image
from torch import Tensor

from clplat.config.space import Float, Int
from clplat.data.records import Picture
from clplat.parts.postprocessors._base import PostProcessor, Shortlist

__all__ = ["Crops"]


class Crops(PostProcessor):
    """Reranks by ``s + weight * max_c cos(q, c)``, c over the crops of a candidate's picture.

    A candidate without a picture gets its own score for the maximum.

    Reference:
        Chen et al., "CLIPRerank: An Extremely Simple Method for Improving Ad-hoc Video Search", 2024,
        arXiv:2401.08449, whose parts are the frames of a video and whose weight is 0.6 / 0.4.

    Args:
        shortlist: candidates of each query.
        grid: a picture is cut into ``grid * grid`` parts of equal size.
        weight: of the best part.

    Raises:
        ValueError: a shortlist or grid below 1, a weight that is negative or no number.

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
    ) -> None:
        if shortlist < 1 or grid < 1:
            raise ValueError(f"shortlist and grid must be at least 1, not {shortlist} and {grid}")
        if not 0.0 <= weight < float("inf"):
            raise ValueError(f"weight must be a number of at least 0, not {weight}")
        self.shortlist, self.grid, self.weight = shortlist, grid, weight

    def rerank(self, found: Shortlist) -> Tensor:
        """New scores (Q, K); each crop of each distinct candidate is embedded once."""
        distinct = torch.unique(found.rows).tolist()
        shown = {row: found.items[row].picture for row in distinct if row >= 0}
        place = {row: i for i, row in enumerate(row for row, picture in shown.items() if picture is not None)}
        crops = [crop for picture in shown.values() if picture is not None for crop in self.parts(picture)]
        if not crops:
            return found.scores * (1.0 + self.weight)
        embedded = found.images(crops).view(len(place), self.grid**2, -1)
        best = torch.full_like(found.scores, -torch.inf)
        for query, (rows, mine) in enumerate(zip(found.rows.tolist(), found.embedded, strict=True)):
            columns = [k for k, row in enumerate(rows) if row in place]
            if columns:
                parts = embedded[[place[rows[k]] for k in columns]]
                best[query, columns] = (parts @ mine).amax(1)
        best = torch.where(torch.isfinite(best), best, found.scores)
        found.spent.pairs += int((found.rows >= 0).sum()) * self.grid**2
        return found.scores + self.weight * best

    def parts(self, picture: Picture) -> Iterator[Picture]:
        """The crops of a picture, row by row."""
        for part in range(self.grid**2):
            load = partial(_crop, picture, self.grid, part)
            yield Picture(f"{picture.key}#{part}/{self.grid}", load, stamp=picture.stamp)


def _crop(picture: Picture, grid: int, part: int) -> Image.Image:
    whole = picture.load()
    row, column = divmod(part, grid)
    edges = [
        (whole.width * column // grid, whole.height * row // grid),
        (whole.width * (column + 1) // grid, whole.height * (row + 1) // grid),
    ]
    (left, top), (right, bottom) = edges
    return whole.crop((left, top, max(right, left + 1), max(bottom, top + 1)))
