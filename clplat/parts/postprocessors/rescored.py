"""Another scorer on the best items: what is too dear for a whole gallery, or would need a larger index."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from clplat.config.space import Float, Int
from clplat.models.scoring import Scores
from clplat.parts.postprocessors._base import PostProcessor, Shortlist, scored_first

__all__ = ["Rescored"]


class Rescored(PostProcessor):
    """Reranks by ``s + weight * e``, e the score of another scorer, such as late interaction.

    The index holds one vector an item as before; what the other scorer compares is made of the shortlist
    alone, by the same towers. Its calls are counted in ``pairs``.

    Args:
        scorer: of the pairs, such as late interaction (``filip``).
        shortlist: candidates of each query.
        weight: of its score.
        budget: calls of the scorer for a query, the best candidates first; 0: one for every candidate. Those
            beyond stay behind, in their order.

    Raises:
        ValueError: a shortlist below 1, a negative budget, a weight that is negative or no number.

    References:
        Khattab et al., "Baleen: Robust Multi-Hop Reasoning at Scale via Condensed Retrieval", NeurIPS 2021,
        arXiv:2101.00436, with ``--postprocessor.scorer.focus``.

    Example:
        >>> from clplat.scorers import Filip
        >>> Rescored(Filip(focus=4), shortlist=20).shortlist
        20
    """

    def __init__(
        self,
        scorer: Scores,
        shortlist: Annotated[int, Int(5, 50)] = 10,
        weight: Annotated[float, Float(0.1, 10.0, log=True)] = 1.0,
        budget: int = 0,
    ) -> None:
        if shortlist < 1 or budget < 0:
            raise ValueError(f"shortlist must be at least 1 and budget 0, not {shortlist} and {budget}")
        if not 0.0 <= weight < float("inf"):
            raise ValueError(f"weight must be a number of at least 0, not {weight}")
        self.shortlist, self.weight, self.budget = shortlist, weight, budget
        self.scorer = scorer

    def rerank(self, found: Shortlist) -> Tensor:
        """New scores (Q, K); what was not scored again lies below all that was, in its old order."""
        within = torch.arange(found.rows.shape[1]) < (self.budget or found.rows.shape[1])
        scores = found.scores + self.weight * found.scored(self.scorer, within.expand_as(found.rows))
        return scored_first(scores, found.scores, within)
