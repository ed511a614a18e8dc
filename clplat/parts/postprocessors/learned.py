"""A small model on embeddings that scores a query's candidates again, taught by training answers."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor

from clplat.config.space import Choice, Float, Int
from clplat.mechanisms.list_scorers import (
    DifferenceScorer,
    ListScorer,
    PairScorer,
    SetScorer,
    ViewScorer,
    train,
)
from clplat.parts.postprocessors._base import Banks, PostProcessor, Shortlist
from clplat.randomness import derive, generator, seeded

__all__ = ["Learned"]


class Learned(PostProcessor):
    """Reranks by what a model adds to the scores: of each pair, of all candidates together, or of views.

    It learns anew for every version, on the training queries of the domains seen: each one's answer among the
    bank's pictures that are most alike to the query. ``set`` learns the order by likeness to the answer
    (ListMLE), ``differences`` both a grade of each and the order of each two (ranking-aware), the others
    which is right. At first each adds nothing, and so it does for the untrained model.

    Args:
        shortlist: candidates of each query.
        model: ``pair``, ``set``, ``views`` or ``differences``.
        views: of ``views``.
        apart: weight of how alike views are.
        steps: of training, on 64 lists each.
        rate: of learning.
        trust: hand out only as many candidates as hold this share of right answers in training; 1: all.
        seed: of the first weights and of the order of training.

    Raises:
        ValueError: a setting out of range.

    Example:
        >>> Learned(model="views").learns
        True
    """

    learns: ClassVar[bool] = True

    def __init__(
        self,
        shortlist: Annotated[int, Int(5, 50)] = 10,
        model: Annotated[
            Literal["pair", "set", "views", "differences"], Choice("pair", "set", "views", "differences")
        ] = "pair",
        views: int = 4,
        apart: float = 0.1,
        steps: Annotated[int, Int(50, 500)] = 100,
        rate: Annotated[float, Float(1e-4, 1e-2, log=True)] = 1e-3,
        trust: float = 1.0,
        seed: int = 0,
    ) -> None:
        if model not in ("pair", "set", "views", "differences"):
            raise ValueError(f"model must be 'pair', 'set', 'views' or 'differences', not '{model}'")
        if min(shortlist, views, steps) < 1 or not (0 < rate < 1 and 0 <= apart < float("inf")):
            raise ValueError(
                "shortlist, views and steps must be at least 1, rate in (0, 1), and apart at least 0, not "
                f"{shortlist}, {views}, {steps}, {rate} and {apart}"
            )
        if not 0 < trust <= 1:
            raise ValueError(f"trust must be in (0, 1], not {trust}")
        self.shortlist, self.model, self.views, self.apart = shortlist, model, views, apart
        self.steps, self.rate, self.trust, self.seed = steps, rate, trust, seed
        self._fitted: ListScorer | None = None
        self._least = 0.0

    def fit(self, banks: Banks) -> None:
        """Learn from training queries, their answers, and what is alike among pictures."""
        assert banks.answers is not None, "a reranker that learns needs answers"
        # Clones: what an evaluation embeds takes part in no gradient.
        queries, answers, pictures = (
            rows.float().clone() for rows in (banks.queries, banks.answers, banks.pictures)
        )
        lists = _lists(queries, answers, pictures, self.shortlist)
        with seeded(derive(self.seed, "learned reranker", self.model)), torch.enable_grad():
            self._fitted = self._made(banks.queries.shape[1])
        draw = generator(self.seed, "lists", self.model)
        with torch.inference_mode(False), torch.enable_grad():
            train(
                self._fitted,
                lists,
                listwise=self.model in ("set", "differences"),
                steps=self.steps,
                rate=self.rate,
                apart=self.apart,
                draw=draw,
            )
        shares = self._shares(self._fitted(*lists).detach())[:, 0]
        self._least = float(torch.quantile(shares, 1.0 - self.trust)) if self.trust < 1 else 0.0

    def _made(self, width: int) -> ListScorer:
        if self.model == "pair":
            return PairScorer(width)
        if self.model == "differences":
            return DifferenceScorer(width)
        if self.model == "views":
            return ViewScorer(width, self.views)
        return SetScorer(width, heads=next(n for n in (4, 2, 1) if width % n == 0))

    @torch.no_grad()
    def rerank(self, found: Shortlist) -> Tensor:
        """New scores (Q, K)."""
        if self._fitted is None:
            return found.scores.clone()
        there = found.rows >= 0
        found.spent.pairs += int(there.sum())
        first = found.scores.masked_fill(~there, 0.0)
        scores: Tensor = self._fitted(found.embedded.float(), found.vectors().float(), first)
        return scores.masked_fill(~there, -torch.inf)

    def keeps(self, scores: Tensor) -> Tensor | None:
        """Candidates with as large a share of the softmax as was learnt; all without ``trust`` below 1."""
        return None if self.trust == 1 else self._shares(scores) >= self._least

    def _shares(self, scores: Tensor) -> Tensor:
        return (20.0 * scores).softmax(1)


def _lists(queries: Tensor, answers: Tensor, pictures: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Each query's answer and the pictures most alike to the query, those more alike to the answer first."""
    pool = torch.cat([pictures, answers])
    same = (answers @ pool.T) > 1.0 - 1e-6
    alike = (queries @ pool.T).masked_fill(same, -torch.inf)
    wrong = alike.topk(min(size - 1, len(pool) - 1), dim=1).indices if size > 1 else pool.new_empty(0).long()
    near = torch.einsum("nd,nkd->nk", answers, pool[wrong]).argsort(1, descending=True)
    items = torch.cat([answers[:, None], pool[wrong.gather(1, near)]], 1)
    return queries, items, torch.einsum("nd,nkd->nk", queries, items)
