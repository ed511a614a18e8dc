"""FILIP: every word of the query looks for the patch that answers it best."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, normalize, pad

from clplat.config.space import Choice
from clplat.errors import UserError
from clplat.mechanisms.token_choice import merged_tokens
from clplat.mechanisms.transport import transported
from clplat.models.features import NOTHING, POOLED, ImageFeatures, TextFeatures
from clplat.models.view import Towers
from clplat.parts.scorers._base import Scorer
from clplat.parts.scorers._tokens import words_of

__all__ = ["Filip", "late_interaction"]

#: Cosines held at once by `late_interaction`: 64 MiB of float32.
_CELLS = 1 << 24


class Filip(Scorer):
    """Late interaction: the best partner of each vector of the query, averaged over the query's vectors.

    ``s(q, g) = mean_w max_p cos(q_w, g_p)``; with ``both`` the mean of this and of ``mean_p max_w``.

    Vectors of a picture are its patches, of a text its words with the EOT, both by the towers' own
    projections into the joint space. A composed query has one vector per word: the composer is applied to the
    picture's pooled feature and to that word in place of the text's pooled feature.

    Args:
        vectors: the most that an item has; a larger grid of patches is averaged to a smaller one, and further
            words but the EOT are left out. Missing ones are zeros and never count.
        direction: from the query's vectors to the item's alone, or both.
        focus: only so many of the query's vectors count for an item, those that it answers best; 0: all.
        fewer: how more patches than ``vectors`` become fewer: ``pooled`` on the grid, or ``merged`` by
            likeness (AIM).
        patches: ``last``: the tower's output; ``values``: the values of its last attention, each by itself,
            which keep to their place (needs blocks of open_clip).
        words: ``each``; ``whole``: a query is one vector, as it is without this scorer; or ``sets``: one for
            each set of vectors of the text's prompt (PLOT), composed with the picture like a word.
        match: ``best``: the partners that answer best; ``transport``: the sum of cosines weighted by the
            optimal plan between both sets, each with an even mass (`clplat.mechanisms.transport`).
        epsilon: entropy of the plan.

    Raises:
        ValueError: fewer than 2 vectors, a negative focus, no epsilon, or no such word.

    References:
        Yao et al., "FILIP: Fine-grained Interactive Language-Image Pre-Training", ICLR 2022,
        arXiv:2111.07783. Khattab et al., "Baleen: Robust Multi-Hop Reasoning at Scale via Condensed
        Retrieval", NeurIPS 2021, arXiv:2101.00436 (``focus``). Zhong et al., "AIM: Adaptive Inference of
        Multi-Modal LLMs via Token Merging and Pruning", ICCV 2025, arXiv:2412.03248 (``merged``). Li et al.,
        "Adapting CLIP For Phrase Localization Without Further Training", 2022, arXiv:2204.03647 (``values``).
        Chen et al., "PLOT", ICLR 2023, arXiv:2210.01253 (``sets``, ``transport``).

    Example:
        >>> scorer = Filip(vectors=2)
        >>> query, item = torch.tensor([[1.0, 0.0, 0.0, 1.0]]), torch.tensor([[0.6, 0.8, 0.0, 0.0]])
        >>> scorer.vectors_of(query, 2).shape  # one query of two vectors, and an item of one
        torch.Size([1, 2, 2])
        >>> late_interaction(scorer.vectors_of(query, 2), scorer.vectors_of(item, 2))
        tensor([[0.7000]])
    """

    wants: ClassVar[Mapping[str, frozenset[str]]] = {"image": NOTHING, "text": frozenset({"tokens"})}
    item_wants = frozenset({"tokens"})
    composes = POOLED
    single = False

    def __init__(
        self,
        vectors: Annotated[int, Choice(16, 49, 64)] = 64,
        direction: Annotated[Literal["query", "both"], Choice("query", "both")] = "query",
        focus: int = 0,
        fewer: Literal["pooled", "merged"] = "pooled",
        patches: Literal["last", "values"] = "last",
        words: Literal["each", "whole", "sets"] = "each",
        match: Literal["best", "transport"] = "best",
        epsilon: float = 0.1,
    ) -> None:
        super().__init__()
        if vectors < 2:
            raise ValueError(f"vectors must be at least 2, a word and the EOT, not {vectors}")
        choices: tuple[tuple[str, str, tuple[str, ...]], ...] = (
            ("direction", direction, ("query", "both")),
            ("fewer", fewer, ("pooled", "merged")),
            ("patches", patches, ("last", "values")),
            ("words", words, ("each", "whole", "sets")),
            ("match", match, ("best", "transport")),
        )
        for name, value, allowed in choices:
            if value not in allowed:
                listed = " or ".join(f"'{one}'" for one in allowed)
                raise ValueError(f"{name} must be {listed}, not '{value}'")
        if focus < 0 or not epsilon > 0:
            raise ValueError(f"focus must be at least 0 and epsilon above 0, not {focus} and {epsilon}")
        self.vectors, self.direction, self.focus = vectors, direction, focus
        self.fewer, self.patches, self.words = fewer, patches, words
        self.match, self.epsilon = match, epsilon
        if words == "sets":
            self.wants = {"image": NOTHING, "text": frozenset({"sets"})}  # type: ignore[misc]
        if patches == "values":
            self.item_wants = frozenset({"hidden"})  # type: ignore[misc]

    def attach(self, towers: Towers) -> None:
        self.towers = towers
        # Two orders to add D products of unit vectors, and then the best of K.
        self.slack = 2.02 * (towers.joint + self.vectors + 32) * 2.0**-24
        if self.match == "transport":
            self.slack *= 1 + 8 / self.epsilon  # a plan moves with its exponents

    def vectors_of(self, rows: Tensor, width: int | None = None) -> Tensor:
        """Flat rows (N, K D) as vectors (N, K, D)."""
        return rows.view(len(rows), self.vectors, width or -1)

    def patches_of(self, rows: Tensor) -> Tensor:
        """Flat rows (N, K D) of pictures as their patches (N, P, D), without places for more."""
        vectors = self.vectors_of(rows)
        return vectors[:, : int(vectors.any(2).sum(1).amax())] if len(rows) else vectors

    def query(
        self,
        image: ImageFeatures,
        text: TextFeatures,
        compose: Callable[[ImageFeatures, TextFeatures], Tensor],
    ) -> Tensor:
        if self.words == "whole":
            return self._flat(compose(image, text)[:, None], None)
        words, real = (self._sets(text), None) if self.words == "sets" else self._words(text)
        count = words.shape[1]
        each = TextFeatures(pooled=words.flatten(0, 1))
        shown = [row for row in range(len(words)) for _ in range(count)]
        picture = image.without_parts().part(shown)
        composed = compose(picture, each).view(words.shape)
        return self._flat(composed, real)

    def item(self, image: ImageFeatures, target: Callable[[ImageFeatures], Tensor]) -> Tensor:
        if self.patches == "values":
            patches = self.towers.joint_values(image.hidden)
        else:
            assert image.tokens is not None
            patches = self.towers.joint_patches(image.tokens)
        side, room = math.isqrt(patches.shape[1]), math.isqrt(self.vectors)
        if patches.shape[1] > self.vectors and self.fewer == "merged":
            patches = merged_tokens(patches, self.vectors)
        elif patches.shape[1] > self.vectors:
            grid = patches.transpose(1, 2).reshape(len(patches), -1, side, patches.shape[1] // side)
            patches = adaptive_avg_pool2d(grid, (room, room)).flatten(2).transpose(1, 2)
        return self._flat(patches, None)

    def text(self, text: TextFeatures) -> Tensor:
        if self.words == "whole":
            return self._flat(text.pooled[:, None], None)
        if self.words == "sets":
            return self._flat(self._sets(text), None)
        return self._flat(*self._words(text))

    def _sets(self, text: TextFeatures) -> Tensor:
        assert text.sets is not None
        if text.sets.shape[1] > self.vectors:
            raise UserError(f"vectors is {self.vectors}, but the prompt has {text.sets.shape[1]} sets")
        return text.sets

    def _words(self, text: TextFeatures) -> tuple[Tensor, Tensor]:
        """The words of texts and their EOT (B, K, D), and which of them are there (B, K)."""
        return words_of(self.towers, text, self.vectors)

    def _flat(self, vectors: Tensor, real: Tensor | None) -> Tensor:
        """Unit vectors (B, n, D), n at most K, as flat rows (B, K D)."""
        vectors = normalize(vectors, dim=-1)
        if real is not None:
            vectors = vectors * real[..., None]
        return pad(vectors, (0, 0, 0, self.vectors - vectors.shape[1])).flatten(1)

    def block(self, queries: Tensor, items: Tensor) -> Tensor:
        both, epsilon = self.direction == "both", self.epsilon if self.match == "transport" else 0.0
        left, right = self.vectors_of(queries), self.vectors_of(items)
        return late_interaction(left, right, both, focus=self.focus, transport=epsilon)

    def pairs(self, queries: Tensor, items: Tensor) -> Tensor:
        left, right = self.vectors_of(queries), self.vectors_of(items)
        cosines = (left[:, :, None] * right[:, None]).sum(dim=3)
        if self.match == "transport":
            return transported(cosines, left.any(2), right.any(2), self.epsilon)
        return _interaction(cosines, left.any(2), right.any(2), self.direction == "both", self.focus)


def late_interaction(
    queries: Tensor, items: Tensor, both: bool = False, *, focus: int = 0, transport: float = 0.0
) -> Tensor:
    """Scores (Q, G) of sets of unit vectors (Q, K, D) and (G, L, D); vectors of zeros are no members.

    ``mean over the members w of a query of max over the members p of the item of w . p``, in memory that is
    bounded unless gradients are wanted.

    Args:
        both: average with the same from items to queries.
        focus: of a query's members only so many, those whose maximum is highest; 0: all.
        transport: entropy of the optimal plan whose weighted sum takes the place of the maxima; 0: none.
    """
    mine, theirs = queries.any(2), items.any(2)
    step = max(1, _CELLS // max(1, queries.shape[0] * queries.shape[1] * items.shape[1]))
    parts = []
    for start in range(0, len(items), step):
        some = slice(start, start + step)
        cosines = torch.einsum("qkd,gld->qgkl", queries, items[some])
        sides = mine[:, None].expand(-1, len(items[some]), -1), theirs[some].expand(len(mine), -1, -1)
        if transport:
            parts.append(transported(cosines, *sides, transport))
        else:
            parts.append(_interaction(cosines, *sides, both, focus))
    return torch.cat(parts, dim=1)


def _interaction(cosines: Tensor, mine: Tensor, theirs: Tensor, both: bool, focus: int) -> Tensor:
    """Scores (...) of cosines (..., K, L) with members (..., K) and (..., L)."""
    best = cosines.masked_fill(~theirs[..., None, :], -torch.inf).amax(-1)
    if focus and focus < best.shape[-1]:
        counts = best.masked_fill(~mine, -torch.inf).topk(focus, dim=-1).values
        scores = _mean(counts.masked_fill(counts == -torch.inf, 0.0), counts > -torch.inf)
    else:
        scores = _mean(best, mine)
    if not both:
        return scores
    best = cosines.masked_fill(~mine[..., :, None], -torch.inf).amax(-2)
    return (scores + _mean(best, theirs)) / 2


def _mean(values: Tensor, members: Tensor) -> Tensor:
    return (values * members).masked_fill(~members, 0.0).sum(-1) / members.sum(-1).clamp(min=1)
