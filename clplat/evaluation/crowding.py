"""Whether a gallery is crowded: a few items answer everything, and all vectors point the same way."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor
from torch.nn.functional import normalize

from clplat.parts.probes._formulas import hubness

__all__ = ["ANSWERS", "crowding", "mean_cosine"]

#: The first answers of each query, among which hubs are looked for.
ANSWERS = 10


def crowding(tops: Mapping[str, Tensor], galleries: Mapping[str, Tensor]) -> dict[str, float]:
    """Means over domains: ``hubness``, the skewness of how often items are found, and `mean_cosine`.

    Args:
        tops: domain -> the best rows (Q, k) of its queries, of which the first `ANSWERS` count.
        galleries: domain -> what they were ranked in (G, D).
    """
    found = [
        (hubness(tops[name][:, :ANSWERS], len(rows)), mean_cosine(rows)) for name, rows in galleries.items()
    ]
    hubs, cosines = zip(*found, strict=True)
    return {"hubness": sum(hubs) / len(hubs), "cosine": sum(cosines) / len(cosines)}


def mean_cosine(rows: Tensor) -> float:
    """The mean cosine of two different rows of (N, D): 1 where all are the same, about 0 if spread.

    Example:
        >>> import torch
        >>> mean_cosine(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]))
        0.3333333333333333
    """
    count, total = len(rows), normalize(rows.double(), dim=1).sum(0)
    return (float(total @ total) - count) / max(1, count * (count - 1))
