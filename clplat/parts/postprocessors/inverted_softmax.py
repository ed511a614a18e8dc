"""Against hubs: gallery items that are near to every query lose what they are near to on average."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from torch import Tensor

from clplat.config.space import Float
from clplat.mechanisms.bank_sums import log_sums
from clplat.mechanisms.equal_rows import first_of_equals
from clplat.mechanisms.hubs import BestRows, best_is_among
from clplat.parts.postprocessors._base import Banks, PostProcessor, Scored

__all__ = ["InvertedSoftmax"]


class InvertedSoftmax(PostProcessor):
    """Ranks by the softmax over a bank of training queries, one column beside the embeddings.

    The score of query q and item g is ``exp(beta s(q,g)) / sum_b exp(beta s(b,g))`` over the queries b of the
    bank. ``forward`` multiplies it by that power of the softmax over the gallery (1: dual softmax), whose sum
    is the same for all items; ``gallery_beta`` by the softmax over a bank of training pictures. Its logarithm
    is ``a (s(q,g) - c_g)``: the rows ``[q, -1]`` and ``[g, c_g]``, with a column for each bank.

    Args:
        beta: inverse temperature of the bank's queries.
        forward: power of the softmax over the gallery.
        gallery_beta: inverse temperature of the bank's pictures; 0 leaves them out.
        dynamic: divide by a bank's sum only for queries whose best item is a hub of that bank: among the
            ``hubs`` best of one of its members.
        hubs: see there.
        power: of the sums; below 1 an item keeps some of what it is near to everywhere.

    Raises:
        ValueError: a setting out of range.

    References:
        Smith et al., "Offline bilingual word vectors, orthogonal transformations and the inverted softmax",
        ICLR 2017. Bogolin et al., "Cross Modal Retrieval with Querybank Normalisation", CVPR 2022,
        arXiv:2112.12777 (``dynamic``). Wang et al., "Balance Act: Mitigating Hubness in Cross-Modal Retrieval
        with Query and Gallery Banks", EMNLP 2023, arXiv:2310.11612 (``gallery_beta``).

    Example:
        >>> part = InvertedSoftmax(beta=10.0)
        >>> part.fit(Banks(torch.tensor([[0.6, 0.8], [0.0, 1.0]]), torch.eye(2)))
        >>> queries, gallery = part.map(Scored(torch.tensor([[0.7, 0.71]])), Scored(torch.eye(2)))
        >>> (queries @ gallery.T).argmax().item()  # without it, the second, which all of the bank are near
        0
    """

    maps: ClassVar[bool] = True

    def __init__(
        self,
        beta: Annotated[float, Float(1.0, 100.0, log=True)] = 20.0,
        forward: float = 0.0,
        gallery_beta: float = 0.0,
        dynamic: bool = False,
        hubs: int = 1,
        power: Annotated[float, Float(0.1, 1.0)] = 1.0,
    ) -> None:
        if not (0 < beta < 1e4 and 0 <= forward < 1e4 and 0 <= gallery_beta < 1e4) or hubs < 1:
            raise ValueError(
                "needs beta above 0, forward and gallery_beta of at least 0, all below 10000, and hubs of at "
                f"least 1, not {beta}, {forward}, {gallery_beta} and {hubs}"
            )
        if not 0 < power < 100:
            raise ValueError(f"power must be above 0 and below 100, not {power}")
        self.beta, self.forward, self.gallery_beta = beta, forward, gallery_beta
        self.dynamic, self.hubs, self.power = dynamic, hubs, power
        self._banks: Banks | None = None

    def fit(self, banks: Banks) -> None:
        """Keep the banks; what follows from them depends on the gallery."""
        self._banks = banks

    def map(self, queries: Scored, gallery: Scored) -> tuple[Tensor, Tensor]:
        """(Q, D + 1) and (G, D + 1), whose inner products rank; one column more for a bank of pictures."""
        assert self._banks is not None, "fit comes first"
        q, g = queries.rows.float(), gallery.rows.float()
        banks = [(self._banks.queries, self.beta), (self._banks.pictures, self.gallery_beta)]
        banks = [(bank, beta) for bank, beta in banks if beta and len(bank)]
        scale = (self.beta * self.forward + sum(beta for _, beta in banks)) / self.power
        hubs = [BestRows(len(bank), self.hubs) if self.dynamic else None for bank, _ in banks]
        columns = [
            (log_sums(g, bank, beta, watch=held.add if held else None) / scale).float()
            for (bank, beta), held in zip(banks, hubs, strict=True)
        ]
        weights = [self._weights(q, g, queries.exclude, held) for held in hubs]
        return torch.cat([q, torch.stack(weights, 1)], 1), torch.cat([g, torch.stack(columns, 1)], 1)

    @staticmethod
    def _weights(queries: Tensor, gallery: Tensor, exclude: Tensor | None, hubs: BestRows | None) -> Tensor:
        """Which queries a bank's sum is taken from: -1, or 0 where the best item is no hub of it."""
        weights = -torch.ones(len(queries))
        if hubs is not None:
            rows, first = torch.unique(hubs.rows), first_of_equals(gallery)
            if first is not None:  # what equals a hub is one
                rows = torch.isin(first, first[rows]).nonzero()[:, 0]
            weights[~best_is_among(queries, gallery, rows, exclude)] = 0.0
        return weights
