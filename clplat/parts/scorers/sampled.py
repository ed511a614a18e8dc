"""UATVR: tokens that gather what an item is about, and a Gaussian from which prototypes are drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from clplat.config.space import Choice, Float
from clplat.mechanisms.attention import CrossLayer
from clplat.mechanisms.contrast import nce
from clplat.mechanisms.distributions import Distribution, kl_to_standard
from clplat.models.features import ImageFeatures, TextFeatures
from clplat.models.view import Towers
from clplat.parts.scorers._base import Scorer
from clplat.parts.scorers._tokens import joined_members
from clplat.randomness import generator

__all__ = ["Sampled"]

#: Numbers held at once by `block`: 64 MiB of float32.
_CELLS = 1 << 24


class Sampled(Scorer):
    """An item is its whole vector z, A tokens that gather its patches and words, and a Gaussian about z.

    A learnt token reads the patches of an item, or patches and words of a query, through one layer for both
    sides, and is added to z. The Gaussian has mean ``n(z + F h)`` and the log deviation ``L h + L' z``, h
    what the tokens gathered and the patches and words, weighted by attention. Three scores, without draws:

    * ``tokens``: the best partner of each vector, weighed, from the query's to the item's and back, averaged;
    * ``best``: the most alike of S samples of each, whose noise is the same for all and drawn once;
    * ``mean``: the mean cosine of these samples.

    In training the samples are drawn anew and contrasted, all S^2 pairs of a query with its answer being
    right, and the Gaussians are held near the standard one. F and what the tokens add begin at zero, so that
    ``tokens`` ranks as the model at first. A row lays ``A + 3`` vectors side by side, of samples two.

    Args:
        number: A.
        samples: S, the first of which is the mean.
        match: ``tokens``, ``best`` or ``mean``.
        grid: patches are averaged over so many cells a side.
        heads: of attention, at most.
        contrast: weight of the samples' contrast.
        spread: weight of the distance to the standard Gaussian.

    Raises:
        ValueError: a size below 1, a negative weight, or another score.

    What is trained: A tokens, and about 21 D^2 weights.

    Reference:
        Fang et al., "UATVR: Uncertainty-Adaptive Text-Video Retrieval", ICCV 2023, arXiv:2301.06309.

    Example:
        >>> from clplat.testing.tiny import tiny_backbone
        >>> scorer = Sampled(number=2, samples=3)
        >>> scorer.attach(Towers(tiny_backbone()))
        >>> scorer.noise.shape, bool(scorer.noise[0].any())
        (torch.Size([3, 24]), False)
    """

    wants: ClassVar[Mapping[str, frozenset[str]]] = {
        "image": frozenset({"tokens"}),
        "text": frozenset({"pooled", "tokens"}),
    }
    item_wants = frozenset({"tokens"})
    single = False
    noise: Tensor

    def __init__(
        self,
        number: Annotated[int, Choice(1, 2, 4)] = 2,
        samples: Annotated[int, Choice(3, 7, 15)] = 7,
        match: Annotated[Literal["tokens", "best", "mean"], Choice("tokens", "best", "mean")] = "tokens",
        grid: int = 3,
        heads: int = 8,
        contrast: Annotated[float, Float(1e-3, 1.0, log=True)] = 0.01,
        spread: Annotated[float, Float(1e-6, 1e-2, log=True)] = 1e-4,
    ) -> None:
        super().__init__()
        if match not in ("tokens", "best", "mean"):
            raise ValueError(f"match must be tokens, best or mean, not '{match}'")
        if min(number, samples, grid, heads) < 1 or not all(
            0 <= w < float("inf") for w in (contrast, spread)
        ):
            raise ValueError(
                "needs number, samples, grid and heads of at least 1 and weights of at least 0, not "
                f"{number}, {samples}, {grid}, {heads}, {contrast} and {spread}"
            )
        self.number, self.samples, self.match, self.grid = number, samples, match, grid
        self.heads, self.contrast, self.spread = heads, contrast, spread

    def attach(self, towers: Towers) -> None:
        """Make tokens, layer and Gaussians, from torch's generator.

        Raises:
            UserError: a tower without tokens.
        """
        towers.need_tokens("scorer Sampled")
        self.towers, self.width = towers, towers.joint
        self.tokens = nn.Parameter(normalize(torch.randn(self.number, self.width), dim=1))
        self.reads = CrossLayer(self.width, self.heads)
        if self.match == "tokens":
            self.gathered = nn.Linear(self.width, self.width)
            nn.init.zeros_(self.gathered.weight)
            nn.init.zeros_(self.gathered.bias)
        self.of_queries, self.of_items = (_Side(self.width, self.match == "tokens") for _ in range(2))
        noise = torch.randn(self.samples, self.width, generator=generator(0, "samples"))
        noise[0] = 0.0
        self.register_buffer("noise", noise, persistent=False)
        # Two orders to add D products of unit vectors, and then weighted sums of the best.
        self.slack = 4.04 * (self.width + 32) * 2.0**-24

    def query(
        self,
        image: ImageFeatures,
        text: TextFeatures,
        compose: Callable[[ImageFeatures, TextFeatures], Tensor],
    ) -> Tensor:
        return self._row(compose(image, text), image, text, self.of_queries)

    def item(self, image: ImageFeatures, target: Callable[[ImageFeatures], Tensor]) -> Tensor:
        return self._row(target(image), image, None, self.of_items)

    def text(self, text: TextFeatures) -> Tensor:
        return self._row(text.pooled, None, text, self.of_queries)

    def _row(
        self, whole: Tensor, image: ImageFeatures | None, text: TextFeatures | None, side: _Side
    ) -> Tensor:
        members, real = joined_members(self.towers, image, text, self.grid)
        members, z = normalize(members, dim=-1), normalize(whole, dim=-1)
        read = self.reads(self.tokens.expand(len(z), -1, -1), members, missing=~real)
        there = torch.cat([torch.ones_like(real[:, :1]).expand(-1, self.number), real], 1)
        spread = side(z, torch.cat([normalize(read, dim=-1), members], 1), there)
        if self.match != "tokens":
            return torch.cat(spread, 1)
        tokens = torch.cat([z[:, None], normalize(z[:, None] + self.gathered(read), dim=-1)], 1)
        weights = side.weigh(tokens)[..., 0].softmax(1)
        return torch.cat([tokens.flatten(1), weights, *spread], 1)

    def _split(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (N, 1 + A, D) and their weights (N, 1 + A) of flat rows."""
        count = 1 + self.number
        tokens, weights = rows[:, : count * self.width], rows[:, count * self.width :][:, :count]
        return tokens.view(len(rows), count, self.width), weights

    def distribution(self, rows: Tensor) -> Distribution:
        return Distribution(*rows[:, -2 * self.width :].chunk(2, dim=1))

    def drawn(self, rows: Tensor) -> Tensor:
        """The samples (N, S, D) of rows that are compared, unit vectors."""
        return normalize(self.distribution(rows).samples(self.noise), dim=-1)

    def block(self, queries: Tensor, items: Tensor) -> Tensor:
        if self.match == "mean":
            return self.drawn(queries).mean(1) @ self.drawn(items).mean(1).T
        asks, held = (self._vectors(rows) for rows in (queries, items))
        step = max(1, _CELLS // max(1, len(queries) * asks[0].shape[1] * held[0].shape[1]))
        found = []
        for start in range(0, len(items), step):
            vectors, weights = (part[start : start + step] for part in held)
            cosines = torch.einsum("qid,gjd->qgij", asks[0], vectors)
            found.append(self._best(cosines, asks[1][:, None], weights[None]))
        return torch.cat(found, 1)

    def pairs(self, queries: Tensor, items: Tensor) -> Tensor:
        if self.match == "mean":
            return (self.drawn(queries).mean(1) * self.drawn(items).mean(1)).sum(1)
        (asks, mine), (vectors, theirs) = (self._vectors(rows) for rows in (queries, items))
        return self._best((asks[:, :, None] * vectors[:, None]).sum(3), mine, theirs)

    def _vectors(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        return self._split(rows) if self.match == "tokens" else (self.drawn(rows), rows)

    def _best(self, cosines: Tensor, mine: Tensor, theirs: Tensor) -> Tensor:
        """Scores (...) of cosines (..., I, J)."""
        if self.match == "best":
            return cosines.flatten(-2).amax(-1)
        return ((cosines.amax(-1) * mine).sum(-1) + (cosines.amax(-2) * theirs).sum(-1)) / 2

    def terms(self, batch: Any, outputs: Any) -> dict[str, Tensor]:
        """The contrast of fresh samples, in both directions, and the distance to the standard Gaussian."""
        with torch.autocast(outputs.query.device.type, enabled=False):
            count = len(outputs.query)
            sides = [self.distribution(rows.float()) for rows in (outputs.query, outputs.candidates[:count])]
            shape = (count, self.samples, self.width)
            drawn = [
                normalize(one.samples(torch.randn(shape, device=one.mean.device)), dim=-1) for one in sides
            ]
            logits = outputs.scale.detach() * drawn[0].flatten(0, 1) @ drawn[1].flatten(0, 1).T
            right = batch.positive[:, :count]
            right = right.repeat_interleave(self.samples, 0).repeat_interleave(self.samples, 1)
            apart = torch.stack([kl_to_standard(one).mean() for one in sides]).sum()
            return {
                "samples": self.contrast * (nce(logits, right) + nce(logits.T, right.T)) / 2,
                "spread": self.spread * apart,
            }


class _Side(nn.Module):
    """What the queries, or the items, have of their own.

    Args:
        width: D; weighs: tokens by their content.
    """

    def __init__(self, width: int, weighs: bool) -> None:
        super().__init__()
        hidden = max(1, width // 2)
        if weighs:
            self.weigh = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1, bias=False))
        self.attend = nn.Sequential(
            nn.Linear(width, hidden, bias=False), nn.Tanh(), nn.Linear(hidden, 1, bias=False)
        )
        self.place, self.log_of_parts = nn.Linear(width, width), nn.Linear(width, width, bias=False)
        self.log_of_whole = nn.Linear(width, width)
        nn.init.zeros_(self.place.weight)
        nn.init.zeros_(self.place.bias)
        nn.init.constant_(self.log_of_whole.bias, -3.0)

    def forward(self, z: Tensor, members: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
        """Means and deviations (N, D) of unit rows (N, D) with members (N, M, D)."""
        scores = self.attend(members)[..., 0].masked_fill(~real, -torch.inf)
        h = (scores.softmax(1)[..., None] * members).sum(1)
        mean = normalize(z + self.place(h), dim=-1)
        return mean, (self.log_of_parts(h) + self.log_of_whole(z)).clamp(-10, 5).exp()
