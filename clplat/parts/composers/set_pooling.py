"""The reference as a set of its parts, pooled in one of six ways and joined with the text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from clplat.config.space import Choice, Float, Int
from clplat.mechanisms.attention import cells, encoder, weighted_mean
from clplat.mechanisms.token_choice import trimmed
from clplat.models.features import POOLED, ImageFeatures, TextFeatures
from clplat.models.view import Towers
from clplat.parts.composers._base import Composer

__all__ = ["POOLS", "SetPooling"]

POOLS = ("mean", "scored", "lstm", "transformer", "tight", "context")


class SetPooling(Composer):
    """``q = (1 - w) n(pool(C)) + w n(t)``, C the picture and its parts in the joint space, and t the text.

    C is the pooled picture and, for each cell of a grid, the mean of its patches by the tower's own
    projection: a picture's parts in place of a video's frames. With ``parts like`` its parts are the patches
    that stand out in cosine with the text, by the rule of boxes and whiskers, and the mean of all others
    (TRIM); ``unlike`` takes those that stand out below.

    ===============  =========================================================================================
    ``mean``         the mean of the unit members
    ``scored``       the mean of the members weighted by ``softmax(cos(t, c) / 0.1)``: CLIP-Hitchhiker
    ``lstm``         c + lstm(c), in their order; then the mean of the unit rows: CLIP4Clip's sequential heads
    ``transformer``  c + transformer(c + positions); then the same
    ``tight``        t's row of a transformer over [t; C] with positions and types: CLIP4Clip's tight head
    ``context``      the picture's row of a transformer over [C; t], added to the picture: ConTra
    ===============  =========================================================================================

    Args:
        pool: how, in the words above; the first two have no weights.
        grid: cells in a row and in a column.
        temperature: of ``scored``.
        depth: layers of a transformer.
        heads: of its attention, at most.
        dropout: in training.
        weight: w.
        parts: ``cells``, or ``like`` or ``unlike`` with ``pool mean``.
        target: candidates are pooled as well, by ``mean``, ``lstm``, ``transformer`` or ``context``, without
            any text.

    Raises:
        ValueError: a size below 1, a temperature of 0, a number outside its range, a pooling by the text for
            candidates.

    What is trained: what the table names, drawn by torch's generator in `attach`.

    Reference:
        Bain et al., "A CLIP-Hitchhiker's Guide to Long Video Retrieval", 2022, arXiv:2205.08508; Luo et al.,
        "CLIP4Clip: An Empirical Study of CLIP for End to End Video Clip Retrieval", 2021, arXiv:2104.08860;
        Fragomeni et al., "ConTra: (Con)text (Tra)nsformer for Cross-Modal Video Retrieval", ACCV 2022,
        arXiv:2210.04341. Song et al., "Less is More: A Simple yet Effective Token Reduction Method for
        Efficient Multi-modal LLMs" (TRIM), COLING 2025, arXiv:2409.10994 (``like``).

    Example:
        >>> from clplat.testing.tiny import tiny_backbone
        >>> composer = SetPooling(pool="transformer", depth=1)
        >>> composer.attach(Towers(tiny_backbone()))
        >>> composer.positions.shape
        torch.Size([5, 24])
    """

    sequence: nn.Module
    wants: ClassVar[Mapping[str, frozenset[str]]] = {"image": frozenset({"pooled", "tokens"}), "text": POOLED}

    def __init__(
        self,
        pool: Annotated[
            Literal["mean", "scored", "lstm", "transformer", "tight", "context"],
            Choice("mean", "scored", "lstm", "transformer", "tight", "context"),
        ] = "scored",
        grid: Annotated[int, Int(1, 7)] = 2,
        temperature: Annotated[float, Float(0.01, 1.0, log=True)] = 0.1,
        depth: Annotated[int, Int(1, 6)] = 2,
        heads: int = 8,
        dropout: Annotated[float, Float(0.0, 0.5)] = 0.1,
        weight: Annotated[float, Float(0.0, 1.0)] = 0.5,
        target: bool = False,
        parts: Literal["cells", "like", "unlike"] = "cells",
    ) -> None:
        super().__init__()
        if pool not in POOLS:
            raise ValueError(f"pool is '{pool}'; allowed: {', '.join(POOLS)}")
        if min(grid, depth, heads) < 1 or not temperature > 0.0:
            raise ValueError(
                f"needs grid, depth and heads >= 1 and a temperature above 0, "
                f"not {grid}, {depth}, {heads} and {temperature}"
            )
        if not (0.0 <= dropout < 1.0 and 0.0 <= weight <= 1.0):
            raise ValueError(f"needs 0 <= dropout < 1 and 0 <= weight <= 1, not {dropout} and {weight}")
        if target and pool in ("scored", "tight"):
            raise ValueError(f"candidates know no text, by which '{pool}' pools: set target to false")
        if parts not in ("cells", "like", "unlike"):
            raise ValueError(f"parts is '{parts}'; allowed: cells, like, unlike")
        if parts != "cells" and (pool != "mean" or target):
            raise ValueError(f"parts '{parts}' are of queries alone: choose pool mean, without target")
        self.parts = parts
        self.pool, self.grid, self.temperature, self.depth = pool, grid, temperature, depth
        self.heads, self.dropout, self.weight, self.also_target = heads, dropout, weight, target
        if target:
            self.target_wants = frozenset({"pooled", "tokens"})  # type: ignore[misc]

    def attach(self, towers: Towers) -> None:
        """Draw what the pooling has."""
        self.towers, width = towers, towers.joint
        members = 1 + self.grid**2
        if self.pool == "lstm":
            self.sequence = nn.LSTM(width, width, batch_first=True)
        elif self.pool in ("transformer", "tight", "context"):
            self.sequence = encoder(width, self.depth, self.heads, self.dropout)
            members += self.pool == "tight"
            self.positions = nn.Parameter(torch.randn(members, width) * 0.02)
            if self.pool != "transformer":  # of the text, and of the picture's members
                self.types = nn.Parameter(torch.randn(2, width) * 0.02)

    def forward(self, image: ImageFeatures, text: TextFeatures) -> Tensor:
        """Return (B, D), not normalised."""
        if self.parts != "cells":
            pooled = self._standing_out(image, text.pooled)
            return (1.0 - self.weight) * pooled + self.weight * normalize(text.pooled, dim=-1)
        pooled = normalize(self._pooled(self._members(image), text.pooled), dim=-1)
        return (1.0 - self.weight) * pooled + self.weight * normalize(text.pooled, dim=-1)

    def target(self, image: ImageFeatures) -> Tensor:
        """The picture, or the same pooling of it without a text (B, D)."""
        return self._pooled(self._members(image), None) if self.also_target else image.pooled

    def _members(self, image: ImageFeatures) -> Tensor:
        assert image.tokens is not None
        parts = cells(self.towers.joint_patches(image.tokens), self.grid)
        return torch.cat([image.pooled[:, None], parts], dim=1)

    def _standing_out(self, image: ImageFeatures, text: Tensor) -> Tensor:
        """The unit mean of the picture, the patches that stand out, and all others in one."""
        assert image.tokens is not None
        said = text if self.parts == "like" else -text
        parts, _ = trimmed(self.towers.joint_patches(image.tokens), said)
        members = torch.cat([image.pooled[:, None], parts], dim=1)
        return normalize(normalize(members, dim=-1).sum(dim=1), dim=-1)  # places without a patch are zeros

    def _pooled(self, members: Tensor, text: Tensor | None) -> Tensor:
        if self.pool == "scored" and text is not None:
            return weighted_mean(text, members, self.temperature)
        if self.pool == "tight" and text is not None:
            row = torch.cat([text[:, None] + self.types[0], members + self.types[1]], dim=1)
            return self._sequence(row)[:, 0]
        if self.pool == "context":
            held = self._placed(members) + self.types[1]
            said = [text[:, None] + self.types[0]] if text is not None else []
            seen: Tensor = self.sequence(torch.cat([held, *said], dim=1))[:, 0]
            return members[:, 0] + seen
        if self.pool == "lstm":
            members = members + self.sequence(members)[0]
        elif self.pool == "transformer":
            members = members + self._sequence(members)
        return normalize(members, dim=-1).mean(dim=1)

    def _sequence(self, members: Tensor) -> Tensor:
        found: Tensor = self.sequence(self._placed(members))
        return found

    def _placed(self, members: Tensor) -> Tensor:
        return members + self.positions[: members.shape[1]]
