"""GLSCL: parts weighed by what is asked for, and shared queries that find concepts on both sides."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize, pad

from clplat.config.space import Choice, Float
from clplat.mechanisms.attention import CrossLayer
from clplat.models.features import ImageFeatures, TextFeatures
from clplat.models.view import Towers
from clplat.parts.scorers._base import Scorer
from clplat.parts.scorers._tokens import joined_members

__all__ = ["SharedQueries", "consistency", "diversity"]

#: Numbers held at once by `block`: 64 MiB of float32.
_CELLS = 1 << 24


class SharedQueries(Scorer):
    """A global and a local score, ``cos(q, sum_p w_p g_p) + weight mean_k q_k . g_k``.

    Global, without parameters: members p of an item are its whole vector and its patches, weighted by
    ``softmax_p(cos(q, g_p) / temperature)`` of the whole query q. Local: K learnt queries read what there is,
    patches of a reference and words of its text on one side, patches of an item on the other, through one
    block for all, and become the concepts q_k and g_k, unit vectors. Two objectives shape them,

        consistency: MSE of both sides' mean concepts + beta sum_k (mean q_k . g_k - 0.75)^2,
        diversity:   hinges of 0.1 + G_kl - G_kk over the mean Gram matrix G of an item's concepts.

    The block adds nothing at first, so that all concepts are the queries and no ranking depends on them. A
    row lays ``1 + grid^2 + number`` vectors side by side.

    Args:
        number: K.
        weight: of the local score.
        temperature: of the weights of patches.
        grid: patches are averaged over so many cells a side.
        heads: of attention, at most.
        consistency: weight of that objective.
        beta: of its second part.
        diversity: weight of that objective.

    Raises:
        ValueError: a size below 1, a temperature of 0 or below, or a negative weight.

    What is trained: K queries and a block of about 16 D^2 weights.

    Reference:
        Zhang et al., "Text-Video Retrieval with Global-Local Semantic Consistent Learning", 2024,
        arXiv:2405.12710.

    Example:
        >>> from clplat.testing.tiny import tiny_backbone
        >>> scorer = SharedQueries(number=4, grid=2)
        >>> scorer.attach(Towers(tiny_backbone()))
        >>> scorer.queries.shape
        torch.Size([4, 24])
    """

    wants: ClassVar[Mapping[str, frozenset[str]]] = {
        "image": frozenset({"tokens"}),
        "text": frozenset({"pooled", "tokens"}),
    }
    item_wants = frozenset({"tokens"})
    single = False

    def __init__(
        self,
        number: Annotated[int, Choice(4, 8, 16)] = 8,
        weight: Annotated[float, Float(0.1, 2.0, log=True)] = 0.5,
        temperature: Annotated[float, Float(0.01, 0.5, log=True)] = 0.05,
        grid: int = 3,
        heads: int = 8,
        consistency: float = 1.0,
        beta: float = 0.005,
        diversity: Annotated[float, Float(1e-3, 1.0, log=True)] = 0.01,
    ) -> None:
        super().__init__()
        if min(number, grid, heads) < 1 or not temperature > 0:
            raise ValueError(
                "needs number, grid and heads of at least 1 and a temperature above 0, not "
                f"{number}, {grid}, {heads} and {temperature}"
            )
        if not all(0 <= one < float("inf") for one in (weight, consistency, beta, diversity)):
            raise ValueError(
                f"weights must be at least 0, not {weight}, {consistency}, {beta} and {diversity}"
            )
        self.number, self.weight, self.temperature, self.grid = number, weight, temperature, grid
        self.heads, self.consistency, self.beta, self.diversity = heads, consistency, beta, diversity

    def attach(self, towers: Towers) -> None:
        """Make queries and block, from torch's generator.

        Raises:
            UserError: a tower without tokens.
        """
        towers.need_tokens("scorer SharedQueries")
        self.towers, self.width = towers, towers.joint
        self.queries = nn.Parameter(normalize(torch.randn(self.number, towers.joint), dim=1))
        self.reads = CrossLayer(towers.joint, self.heads)
        last: Any = self.reads.mlp[3]
        for layer in (self.reads.own.out_proj, self.reads.other.out_proj, last):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        # Two orders to add D products of unit vectors, for members and concepts, and what the weights make
        # of the difference.
        terms = (towers.joint + 16) * 2.0**-24
        self.slack = 2.02 * terms * (2.0 + 2.0 / self.temperature + self.weight * 2.0)

    def query(
        self,
        image: ImageFeatures,
        text: TextFeatures,
        compose: Callable[[ImageFeatures, TextFeatures], Tensor],
    ) -> Tensor:
        return self._row(compose(image, text), None, *joined_members(self.towers, image, text, self.grid))

    def item(self, image: ImageFeatures, target: Callable[[ImageFeatures], Tensor]) -> Tensor:
        patches, real = joined_members(self.towers, image, None, self.grid)
        return self._row(target(image), patches, patches, real)

    def text(self, text: TextFeatures) -> Tensor:
        return self._row(text.pooled, None, *joined_members(self.towers, None, text, self.grid))

    def _row(self, whole: Tensor, parts: Tensor | None, read: Tensor, real: Tensor) -> Tensor:
        members = whole[:, None] if parts is None else torch.cat([whole[:, None], parts], 1)
        members = normalize(members, dim=-1)
        members = pad(members, (0, 0, 0, 1 + self.grid**2 - members.shape[1]))
        asks = self.queries.expand(len(whole), -1, -1)
        concepts = normalize(self.reads(asks, normalize(read, dim=-1), missing=~real), dim=-1)
        return torch.cat([members, concepts], 1).flatten(1)

    def parts_of(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Flat rows as members (N, 1 + grid^2, D), zeros where there are none, and concepts (N, K, D)."""
        vectors = rows.view(len(rows), -1, self.width)
        return vectors[:, : -self.number], vectors[:, -self.number :]

    def block(self, queries: Tensor, items: Tensor) -> Tensor:
        (asks, mine), (members, theirs) = self.parts_of(queries), self.parts_of(items)
        local = mine.flatten(1) @ theirs.flatten(1).T / self.number
        gram = members @ members.transpose(1, 2)
        step = max(1, _CELLS // max(1, len(queries) * members.shape[1]))
        found = []
        for start in range(0, len(items), step):
            some = slice(start, start + step)
            cosines = torch.einsum("qd,gpd->qgp", asks[:, 0], members[some])
            weights = self._weights(cosines, members[some])
            squared = torch.einsum("qgp,gpr,qgr->qg", weights, gram[some], weights)
            found.append((weights * cosines).sum(2) / squared.clamp(min=1e-12).sqrt())
        return torch.cat(found, 1) + self.weight * local

    def pairs(self, queries: Tensor, items: Tensor) -> Tensor:
        (asks, mine), (members, theirs) = self.parts_of(queries), self.parts_of(items)
        cosines = (asks[:, :1] * members).sum(2)
        weights = self._weights(cosines, members)
        pooled = (weights[..., None] * members).sum(1)
        found = (asks[:, 0] * pooled).sum(1) / pooled.square().sum(1).clamp(min=1e-12).sqrt()
        return found + self.weight * (mine * theirs).sum(2).sum(1) / self.number

    def _weights(self, cosines: Tensor, members: Tensor) -> Tensor:
        return (cosines / self.temperature).masked_fill(~members.any(-1), -torch.inf).softmax(-1)

    def terms(self, batch: Any, outputs: Any) -> dict[str, Tensor]:
        """The two objectives, of the examples and their answers."""
        with torch.autocast(outputs.query.device.type, enabled=False):
            _, asked = self.parts_of(outputs.query.float())
            _, shown = self.parts_of(outputs.candidates[: len(asked)].float())
            return {
                "consistency": self.consistency * consistency(asked, shown, self.beta),
                "diversity": self.diversity * diversity(shown),
            }


def consistency(asked: Tensor, shown: Tensor, beta: float) -> Tensor:
    """``MSE(mean concepts) + beta sum_k (mean cos(asked_k, shown_k) - 0.75)^2`` of concepts (B, K, D)."""
    apart = (asked.mean(0) - shown.mean(0)).square().mean()
    return apart + beta * ((asked * shown).sum(2).mean(0) - 0.75).square().sum()


def diversity(concepts: Tensor, margin: float = 0.1) -> Tensor:
    """The mean over k != l of ``max(0, margin + G_kl - G_kk) + max(0, margin + G_kl - G_ll)``.

    G is the mean over the batch of the products of concepts (B, K, D).
    """
    gram = torch.einsum("bkd,bld->kl", concepts, concepts) / len(concepts)
    count, own = len(gram), gram.diagonal()
    hinges = (margin + gram - own[:, None]).clamp(min=0) + (margin + gram - own).clamp(min=0)
    others = ~torch.eye(count, dtype=torch.bool, device=gram.device)
    return (hinges * others).sum() / max(1, count * (count - 1))
