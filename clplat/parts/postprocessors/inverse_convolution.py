"""InvGC: gallery vectors are moved away from what they are near to in the banks."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import normalize

from clplat.config.space import Float
from clplat.mechanisms.bank_sums import away_from, away_from_nearest
from clplat.mechanisms.equal_rows import first_of_equals, same_for_equals
from clplat.parts.postprocessors._base import Banks, PostProcessor, Scored

__all__ = ["InverseConvolution"]

#: Gallery rows moved at once: what is made of them stays in a cache.
_ROWS = 1 << 14


class InverseConvolution(PostProcessor):
    """Gallery rows less what they share with the banks, so that a crowded cone opens; queries stay.

    ``g' = u(u(g - gallery_rate / P sum_p (g.p - m_p) p) + u(g - query_rate / B sum_b (g.b - m_b) b))`` over
    the pictures p and queries b of the banks, u to unit length, with m the mean similarity of the bank's
    pictures to each. With ``share`` each sum is over that share of a bank, the nearest ones, without m
    (LocalAdj).

    Args:
        gallery_rate: of the bank of pictures.
        query_rate: of the bank of queries.
        share: of each bank, the nearest; 1: all of it.

    Raises:
        ValueError: a rate that is negative or no number, a share that is not in (0, 1].

    Reference:
        Jian and Wang, "InvGC: Robust Cross-Modal Retrieval by Inverse Graph Convolution", Findings of EMNLP
        2023, arXiv:2310.13276.

    Example:
        >>> part = InverseConvolution(gallery_rate=0.5, query_rate=0.5, share=0.5)
        >>> part.fit(Banks(torch.tensor([[0.8, 0.6]]), torch.tensor([[0.6, 0.8]])))
        >>> near = torch.tensor([[0.8, 0.6], [0.6, 0.8]])
        >>> _, moved = part.map(Scored(near), Scored(near))
        >>> bool(moved[0] @ moved[1] < near[0] @ near[1])
        True
    """

    maps: ClassVar[bool] = True

    def __init__(
        self,
        gallery_rate: Annotated[float, Float(0.01, 1.0, log=True)] = 0.2,
        query_rate: Annotated[float, Float(0.01, 1.0, log=True)] = 0.2,
        share: Annotated[float, Float(0.01, 1.0, log=True)] = 1.0,
    ) -> None:
        if not (0 <= gallery_rate < float("inf") and 0 <= query_rate < float("inf") and 0 < share <= 1):
            raise ValueError(
                "rates must be numbers of at least 0 and share must be above 0 and at most 1, not "
                f"{gallery_rate}, {query_rate} and {share}"
            )
        self.gallery_rate, self.query_rate, self.share = gallery_rate, query_rate, share
        self._banks: Banks | None = None

    def fit(self, banks: Banks) -> None:
        """Keep the banks."""
        self._banks = banks

    def map(self, queries: Scored, gallery: Scored) -> tuple[Tensor, Tensor]:
        """The queries as they are, and unit rows (G, D)."""
        assert self._banks is not None, "fit comes first"
        sides = [(self._banks.pictures, self.gallery_rate), (self._banks.queries, self.query_rate)]
        sides = [(bank, rate) for bank, rate in sides if len(bank)]
        rows = gallery.rows.float()
        found = torch.empty_like(rows)
        for block, out in zip(torch.split(rows, _ROWS), torch.split(found, _ROWS), strict=True):
            moved = [self._moved(block, bank, rate) for bank, rate in sides]
            out.copy_(normalize(sum(moved[1:], moved[0]), dim=1))
        return queries.rows.float(), same_for_equals(found, first_of_equals(rows))

    def _moved(self, rows: Tensor, bank: Tensor, rate: float) -> Tensor:
        assert self._banks is not None
        if self.share < 1:
            return away_from_nearest(rows, bank, rate, round(self.share * len(bank)))
        known = self._banks.pictures if len(self._banks.pictures) else bank
        expected = float(known.double().mean(0) @ bank.double().mean(0))
        return away_from(rows, bank, rate, expected)
