"""Against hubs: gallery items that are near to every query lose what they are near to on average."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from torch import Tensor

from clplat.config.space import Float
from clplat.parts.postprocessors._base import Banks, PostProcessor, Scored

__all__ = ["InvertedSoftmax"]


class InvertedSoftmax(PostProcessor):
    """Ranks by the softmax over a bank of training queries, one column beside the embeddings.

    The score of query q and item g is ``exp(beta s(q,g)) / sum_b exp(beta s(b,g))`` over the queries b of the
    bank. ``forward`` multiplies it by that power of the softmax over the gallery (1: dual softmax), whose sum
    is the same for all items; ``gallery_beta`` by the softmax over a bank of training pictures. Its logarithm
    is ``a (s(q,g) - c_g)``: the rows ``[q, -1]`` and ``[g, c_g]``.

    Args:
        beta: inverse temperature of the bank's queries.
        forward: power of the softmax over the gallery.
        gallery_beta: inverse temperature of the bank's pictures; 0 leaves them out.
        dynamic: only for queries whose best item is a hub: among the ``hubs`` best of a query of the bank.
        hubs: see there.

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
    ) -> None:
        if not (0 < beta < 1e4 and 0 <= forward < 1e4 and 0 <= gallery_beta < 1e4) or hubs < 1:
            raise ValueError(
                "needs beta above 0, forward and gallery_beta of at least 0, all below 10000, and hubs of at "
                f"least 1, not {beta}, {forward}, {gallery_beta} and {hubs}"
            )
        self.beta, self.forward, self.gallery_beta = beta, forward, gallery_beta
        self.dynamic, self.hubs = dynamic, hubs
        self._banks: Banks | None = None

    def fit(self, banks: Banks) -> None:
        """Keep the banks; what follows from them depends on the gallery."""
        self._banks = banks

    def map(self, queries: Scored, gallery: Scored) -> tuple[Tensor, Tensor]:
        """(Q, D + 1) and (G, D + 1), whose inner products rank."""
        assert self._banks is not None, "fit comes first"
        q, g = queries.rows.float(), gallery.rows.float()
        to_queries = self._banks.queries.double() @ g.double().T
        bias = torch.logsumexp(self.beta * to_queries, 0)
        if self.gallery_beta and len(self._banks.pictures):
            to_pictures = self._banks.pictures.double() @ g.double().T
            bias = bias + torch.logsumexp(self.gallery_beta * to_pictures, 0)
        scale = self.beta * (1.0 + self.forward) + (self.gallery_beta if len(self._banks.pictures) else 0.0)
        weights = -torch.ones(len(q))
        if self.dynamic:
            hubs = torch.unique(to_queries.topk(min(self.hubs, len(g)), dim=1).indices)
            weights[~torch.isin(_best(q, g, queries.exclude), hubs)] = 0.0
        return torch.cat([q, weights[:, None]], 1), torch.cat([g, (bias / scale).float()[:, None]], 1)


def _best(q: Tensor, g: Tensor, exclude: Tensor | None) -> Tensor:
    """The best row (Q,) of each query among those that it may find."""
    scores = q.double() @ g.double().T
    if exclude is not None:
        places, entries = (exclude >= 0).nonzero(as_tuple=True)
        scores[places, exclude[places, entries]] = -torch.inf
    return scores.argmax(1)
