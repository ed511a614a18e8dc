"""CLIP-UP: whether a query has any answer in the gallery, by a small head on its ranking."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import normalize

from clplat.config.space import Float, Int
from clplat.mechanisms.abstention import best_scores, fitted_head
from clplat.parts.postprocessors._base import Banks, PostProcessor, Shortlist

__all__ = ["Unanswerable"]


class Unanswerable(PostProcessor):
    """Leaves the ranking as it is, and says how surely each query has an answer at all.

    A logistic head reads the best score and its lead over the second, with ``products`` also the query times
    the best candidate, number by number. It is fitted on training queries of the domains seen, each ranked
    among the answers of all with its own and once more without. The cost of the reranked set then says what
    that is worth on test queries (``auroc``, ``surest_half``).

    Args:
        shortlist: candidates of each query; two are looked at.
        products: read these too.
        ridge: on the head's weights.

    Raises:
        ValueError: a shortlist below 2, or a ridge that is not above 0.

    Reference:
        Vardi et al., "CLIP-UP: CLIP-Based Unanswerable Problem Detection for Visual Question Answering",
        2025, arXiv:2501.01371.

    Example:
        >>> part = Unanswerable()
        >>> part.fit(Banks(torch.eye(3), torch.eye(3), answers=torch.eye(3)))
        >>> sure = part.certainty(torch.eye(2, 3), torch.tensor([[0.9, 0.1], [0.3, 0.2]]), torch.eye(2, 3))
        >>> bool(sure[0] > sure[1])
        True
    """

    learns: ClassVar[bool] = True

    def __init__(
        self,
        shortlist: Annotated[int, Int(2, 50)] = 10,
        products: bool = False,
        ridge: Annotated[float, Float(1e-3, 10.0, log=True)] = 1e-2,
    ) -> None:
        if shortlist < 2 or not 0.0 < ridge < float("inf"):
            raise ValueError(f"needs shortlist >= 2 and ridge > 0, not {shortlist} and {ridge}")
        self.shortlist, self.products, self.ridge = shortlist, products, ridge
        self._head: Tensor | None = None

    def fit(self, banks: Banks) -> None:
        """Rank training queries among all answers, with and without their own, and fit the head."""
        assert banks.answers is not None, "a head on rankings needs answers"
        queries, answers = banks.queries.double(), torch.unique(banks.answers.double(), dim=0)
        self._head = None
        if len(answers) < 3:
            return
        own = normalize(banks.answers.double(), dim=1) @ normalize(answers, dim=1).T > 1.0 - 1e-6
        scores, features = queries @ answers.T, []
        for some in (scores, scores.masked_fill(own, -torch.inf)):
            features.append(self._features(queries, some, answers[some.argmax(1)]))
        there = torch.arange(2 * len(queries)) < len(queries)
        self._head = fitted_head(torch.cat(features), there, self.ridge)

    def certainty(self, queries: Tensor, scores: Tensor, best: Tensor) -> Tensor:
        """How surely each query has an answer (Q,), in logits; 0 before anything was learnt.

        Args:
            queries: (Q, D); scores: (Q, K) of its candidates, -inf where there are no more; best: (Q, D), the
                first candidate.
        """
        if self._head is None:
            return torch.zeros(len(queries), dtype=torch.float64)
        features = self._features(queries.double(), scores.double(), best.double())
        return features @ self._head[:-1] + self._head[-1]

    def _features(self, queries: Tensor, scores: Tensor, best: Tensor) -> Tensor:
        seen = best_scores(scores)
        seen[:, 1] = seen[:, 1].nan_to_num(posinf=0.0)  # one candidate alone leads nobody
        return torch.cat([seen, queries * best], 1) if self.products else seen

    def rerank(self, found: Shortlist) -> Tensor:
        """The scores (Q, K) as they are."""
        return found.scores.clone()

    def answerable(self, found: Shortlist) -> Tensor:
        """See `certainty`; a query without candidates is as unsure as can be."""
        nothing = found.rows[:, 0] < 0
        if self._head is None or found.rows.shape[1] < 2 or nothing.all():
            return torch.zeros(len(found.rows), dtype=torch.float64)
        sure = self.certainty(found.embedded, found.scores, found.vectors()[:, 0])
        return sure.masked_fill(nothing, -torch.inf)
