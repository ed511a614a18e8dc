"""Product quantisation: a gallery of codes, a byte for each part of a vector."""

from __future__ import annotations

from typing import Annotated, ClassVar

from torch import Tensor

from clplat.config.space import Int
from clplat.mechanisms.product_codes import codebooks, codes_of, decoded
from clplat.parts.postprocessors._base import Banks, PostProcessor, Scored

__all__ = ["Quantised"]


class Quantised(PostProcessor):
    """Ranks gallery rows as their codes say them; queries stay as they are (asymmetric distances).

    A row is cut into ``parts`` pieces, and each is the nearest of up to ``codes`` centres, which k-means
    found among training pictures of the domains seen: ``parts`` bytes an item in place of 4 D. What that
    costs stands beside the exact ranking (``gain``).

    Args:
        parts: pieces of a vector, as many as numbers at most.
        codes: centres of each piece, at most 256; fewer where the bank is smaller.
        rounds: of k-means.
        seed: of its start.

    Raises:
        ValueError: a number out of range.

    References:
        Jegou et al., "Product Quantization for Nearest Neighbor Search", TPAMI 2011. Black et al.,
        "Compositional Sketch Search", ICIP 2021, arXiv:2106.08009, whose descriptors are searched so.

    Example:
        >>> import torch
        >>> part = Quantised(parts=2, codes=2)
        >>> part.fit(Banks(torch.eye(4), torch.eye(4)[:2]))
        >>> part.map(Scored(torch.eye(4)), Scored(torch.eye(4)[:2]))[1]  # as many centres as pictures: exact
        tensor([[1., 0., 0., 0.],
                [0., 1., 0., 0.]])
    """

    maps: ClassVar[bool] = True

    def __init__(
        self,
        parts: Annotated[int, Int(4, 64, log=True)] = 16,
        codes: Annotated[int, Int(16, 256, log=True)] = 256,
        rounds: int = 10,
        seed: int = 0,
    ) -> None:
        if min(parts, rounds) < 1 or not 2 <= codes <= 256:
            raise ValueError(
                f"needs parts and rounds >= 1 and 2 to 256 codes, not {parts}, {rounds} and {codes}"
            )
        self.parts, self.codes, self.rounds, self.seed = parts, codes, rounds, seed
        self._books: list[Tensor] | None = None

    def fit(self, banks: Banks) -> None:
        """Find the centres among pictures, or among queries where there are none."""
        rows = banks.pictures if len(banks.pictures) else banks.queries
        self._books = codebooks(rows.float(), self.parts, self.codes, self.rounds, self.seed)

    def map(self, queries: Scored, gallery: Scored) -> tuple[Tensor, Tensor]:
        """The queries as they are, and each gallery row as its codes say it (G, D)."""
        assert self._books is not None, "fit comes first"
        return queries.rows.float(), decoded(codes_of(gallery.rows.float(), self._books), self._books)
