"""Small models that score the candidates of a query together, on embeddings that are there already."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize, softplus

from clplat.mechanisms.small_fits import batches

__all__ = ["DifferenceScorer", "ListScorer", "PairScorer", "SetScorer", "ViewScorer", "list_mle", "train"]


class ListScorer(nn.Module):
    """Scores (Q, K) of candidates (Q, K, D) of queries (Q, D), beside the first ones (Q, K)."""

    def objective(self, query: Tensor, items: Tensor, first: Tensor) -> Tensor:
        """What it learns of lists, best first, beside their order; nothing unless it says so."""
        return torch.zeros(())

    def penalty(self) -> Tensor:
        """What it learns without lists; nothing unless it says so."""
        return torch.zeros(())


class PairScorer(ListScorer):
    """A network on ``[q * v, q - v]`` of each pair, added to the first score; zero at first.

    Args:
        width: D of the embeddings.
        hidden: units.
    """

    def __init__(self, width: int, hidden: int = 64) -> None:
        super().__init__()
        last = nn.Linear(hidden, 1)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.layers = nn.Sequential(nn.Linear(2 * width, hidden), nn.GELU(), last)

    def forward(self, query: Tensor, items: Tensor, first: Tensor) -> Tensor:
        """Scores (Q, K) of queries (Q, D) with items (Q, K, D), whose first scores are (Q, K)."""
        q = query[:, None].expand_as(items)
        added: Tensor = self.layers(torch.cat([q * items, q - items], 2))[..., 0]
        return first + added


class DifferenceScorer(ListScorer):
    """A number for each candidate, and one for each difference of two; both zero at first.

    With ``x_k = relu(W [q * v_k, v_k - q])``, what of candidate k is asked about, the score added to the
    first is ``r x_k + mean_l tanh(p (x_k - x_l))``. `objective` trains both heads from the order of a list.

    Args:
        width: D of the embeddings.
        hidden: of x.

    Reference:
        Yu et al., "Ranking-aware adapter for text-driven image ordering with CLIP", ICLR 2025 (recalled),
        where x comes of attention between patches and words.
    """

    def __init__(self, width: int, hidden: int = 64) -> None:
        super().__init__()
        self.reads = nn.Sequential(nn.Linear(2 * width, hidden), nn.ReLU())
        self.grade, self.pair = nn.Linear(hidden, 1, bias=False), nn.Linear(hidden, 1, bias=False)
        nn.init.zeros_(self.grade.weight)
        nn.init.zeros_(self.pair.weight)

    def heads(self, query: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        """Grades (Q, K), and how surely each candidate stands before each other one (Q, K, K), in logits."""
        q = query[:, None].expand_as(items)
        x = self.reads(torch.cat([q * items, items - q], 2))
        single = self.pair(x)[..., 0]
        return self.grade(x)[..., 0], single[:, :, None] - single[:, None]

    def forward(self, query: Tensor, items: Tensor, first: Tensor) -> Tensor:
        """As `PairScorer`; items of zeros are no candidates, and none is compared with them."""
        grades, before = self.heads(query, items)
        there = items.any(2)[:, None].to(first.dtype)
        return first + grades + (before.tanh() * there).sum(2) / there.sum(2).clamp(min=1)

    def objective(self, query: Tensor, items: Tensor, first: Tensor) -> Tensor:
        """Of lists from the best to the worst: squared errors of grades, and the cost of each pair's order.

        The candidate at place k of K has the grade ``1 - k / (K - 1)``, less the mean of all.
        """
        grades, before = self.heads(query, items)
        count = items.shape[1]
        goal = torch.linspace(1.0, 0.0, count) - 0.5 if count > 1 else torch.zeros(1)
        pairs = torch.ones(count, count).triu(1).bool()
        order = softplus(-before[:, pairs]).mean() if pairs.any() else before.sum() * 0.0
        return (grades - goal).square().mean() + order


class SetScorer(ListScorer):
    """A transformer over the query and all its candidates, one token each and without places; zero at first.

    Args:
        width: D of the embeddings.
        heads: of attention; layers: of the transformer.

    Reference:
        Liu et al., "Leveraging Passage Embeddings for Efficient Listwise Reranking with Large Language
        Models", WWW 2025, arXiv:2406.14848, which feeds the tokens to a language model.
    """

    def __init__(self, width: int, heads: int = 4, layers: int = 1) -> None:
        super().__init__()
        block = nn.TransformerEncoderLayer(width, heads, 2 * width, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(block, layers, enable_nested_tensor=False)
        self.asks = nn.Parameter(torch.zeros(width))
        self.read = nn.Linear(width, 1)
        nn.init.zeros_(self.read.weight)
        nn.init.zeros_(self.read.bias)

    def forward(self, query: Tensor, items: Tensor, first: Tensor) -> Tensor:
        """As `PairScorer`; items of zeros are no candidates, and no other looks at them."""
        tokens = torch.cat([(query + self.asks)[:, None], items], 1)
        missing = torch.cat([torch.zeros(len(items), 1).bool(), ~items.any(2)], 1)
        added: Tensor = self.read(self.encoder(tokens, src_key_padding_mask=missing)[:, 1:])[..., 0]
        return first + added


class ViewScorer(ListScorer):
    """Views of the query, each with an anchor among the candidates; a candidate's score is its mean cosine.

    View m is ``V_m q``, its anchor the candidates weighted by ``softmax(scale view . v)``; the mean over
    views of cos(anchor, v), times a weight that is zero at first, is added to the first score.

    Args:
        width: D of the embeddings.
        views: how many.
        scale: of the attention.

    Reference:
        "Multi-view-guided Passage Reranking with Large Language Models", 2025 (recalled), where views are
        tokens of a language model.
    """

    def __init__(self, width: int, views: int = 4, scale: float = 10.0) -> None:
        super().__init__()
        self.maps = nn.Parameter(torch.randn(views, width, width) * 0.1 / width**0.5 + torch.eye(width))
        self.scale, self.weight = scale, nn.Parameter(torch.zeros(()))

    def forward(self, query: Tensor, items: Tensor, first: Tensor) -> Tensor:
        """As `PairScorer`; items of zeros are no candidates."""
        views = normalize(torch.einsum("mde,qe->qmd", self.maps, query), dim=2)
        scores = self.scale * torch.einsum("qmd,qkd->qmk", views, items)
        shares = scores.masked_fill(~items.any(2)[:, None], -torch.inf).softmax(2)
        anchors = normalize(torch.einsum("qmk,qkd->qmd", shares, items), dim=2)
        return first + self.weight * torch.einsum("qmd,qkd->qmk", anchors, items).mean(1)

    def penalty(self) -> Tensor:
        """How alike the views are: the mean squared cosine of two maps."""
        flat = normalize(self.maps.flatten(1), dim=1)
        alike = (flat @ flat.T - torch.eye(len(flat))).square()
        return alike.sum() / max(1, len(flat) * (len(flat) - 1))


def list_mle(scores: Tensor, order: Tensor) -> Tensor:
    """``-log P(order)`` under Plackett-Luce, the mean over lists: each place is drawn from what is left.

    Args:
        scores: (Q, K).
        order: (Q, K), the columns from the best to the worst.

    Reference:
        Xia et al., "Listwise Approach to Learning to Rank: Theory and Algorithm", ICML 2008.

    Example:
        >>> round(float(list_mle(torch.zeros(1, 3), torch.tensor([[2, 0, 1]])).exp()), 3)  # one of six orders
        6.0
    """
    ranked = scores.gather(1, order)
    left = ranked.flip(1).logcumsumexp(1).flip(1)
    return (left - ranked).sum(1).mean()


def train(
    model: ListScorer,
    lists: tuple[Tensor, Tensor, Tensor],
    *,
    listwise: bool,
    steps: int,
    rate: float,
    apart: float,
    draw: torch.Generator,
    scale: float = 20.0,
) -> None:
    """Fit a model to lists of candidates, the first of which is right.

    Args:
        model: changed in place.
        lists: queries (N, D), candidates (N, K, D) from the best to the worst, first scores (N, K).
        listwise: the whole order counts (`list_mle`); else only the first (cross-entropy).
        steps: of AdamW, on 64 lists each.
        rate: of learning.
        apart: weight of the model's penalty.
        draw: chooses the lists of a step.
        scale: of scores in the softmax.
    """
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.0)
    queries, items, first = lists
    order = torch.arange(items.shape[1])
    for rows in batches(len(queries), steps, draw):
        some = queries[rows], items[rows], first[rows]
        scores, each = scale * model(*some), order.expand(len(rows), -1)
        loss = list_mle(scores, each) if listwise else cross_entropy(scores, each[:, 0])
        loss = loss + model.objective(*some)
        optimizer.zero_grad()
        torch.autograd.backward(loss + apart * model.penalty())
        optimizer.step()
