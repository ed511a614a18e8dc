"""ANNCUR: which candidates deserve a dear scorer is told by its scores with a few anchors."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from clplat.config.space import Float, Int
from clplat.mechanisms.cur import approximate, item_factors
from clplat.models.scoring import Scores
from clplat.parts.postprocessors._base import PostProcessor, Shortlist, scored_first

__all__ = ["Approximated"]


class Approximated(PostProcessor):
    """Reranks by ``s + weight * e``, with the scorer e called ``anchors + budget`` times a query.

    A query is scored with anchor items of the gallery; what it would score with others follows from how the
    anchors score with them, which an index computes once (``index_pairs``). The ``budget`` best by these
    estimates are scored exactly and come first, the others follow in the order of the estimates.

    Args:
        scorer: of the pairs, such as late interaction (``filip``).
        shortlist: candidates of each query.
        weight: of its score.
        anchors: items of the gallery, evenly over it.
        budget: exact scores for each query beside those with anchors.

    Raises:
        ValueError: a number below 1, a weight that is negative or no number.

    Reference:
        Yadav et al., "Efficient Nearest Neighbor Search for Cross-Encoder Models using Matrix Factorization",
        EMNLP 2022, arXiv:2210.12579.

    Example:
        >>> from clplat.scorers import Filip
        >>> Approximated(Filip(), anchors=4, budget=4).shortlist  # eight calls instead of thirty
        30
    """

    def __init__(
        self,
        scorer: Scores,
        shortlist: Annotated[int, Int(10, 50)] = 30,
        weight: Annotated[float, Float(0.1, 10.0, log=True)] = 1.0,
        anchors: Annotated[int, Int(2, 32)] = 8,
        budget: Annotated[int, Int(2, 32)] = 8,
    ) -> None:
        if min(shortlist, anchors, budget) < 1:
            raise ValueError(
                f"shortlist, anchors and budget must be at least 1, not {shortlist}, {anchors} and {budget}"
            )
        if not 0.0 <= weight < float("inf"):
            raise ValueError(f"weight must be a number of at least 0, not {weight}")
        self.shortlist, self.weight, self.anchors, self.budget = shortlist, weight, anchors, budget
        self.scorer = scorer

    def rerank(self, found: Shortlist) -> Tensor:
        """New scores (Q, K)."""
        there, size = found.rows >= 0, len(found.items)
        anchors = torch.arange(0, size, max(1, size // self.anchors))[: self.anchors]
        distinct = torch.unique(torch.cat([anchors, found.rows[there]]))
        asked, held = found.compared(self.scorer, distinct)
        places = torch.searchsorted(distinct, found.rows.clamp(min=0))
        own = torch.searchsorted(distinct, anchors)
        found.spent.index_pairs += len(anchors) * len(distinct)
        found.spent.pairs += len(asked) * len(anchors)
        factors = item_factors(self.scorer.block(held[own], held), own)
        guessed = approximate(self.scorer.block(asked, held[own]), factors).gather(1, places).float()
        guessed = (found.scores + self.weight * guessed).masked_fill(~there, -torch.inf)
        best = guessed.topk(min(self.budget, guessed.shape[1]), dim=1).indices
        wanted = torch.zeros_like(there).scatter(1, best, True) & there
        exact = found.scores + self.weight * found.exact(self.scorer, asked, held, places, wanted)
        return scored_first(exact, guessed, wanted)
