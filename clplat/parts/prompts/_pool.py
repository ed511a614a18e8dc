"""The tower's side of a pool of prompts: which of them a picture takes, and what growing adds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from clplat.models.features import POOLED, ImageFeatures, TextFeatures
from clplat.models.prompt import TowerPrompt
from clplat.parts.prompts._chosen_texts import nearest_centres, put_centres
from clplat.parts.prompts._taken import Taken

__all__ = ["Pool", "position_code"]


class Pool(TowerPrompt):
    """All prompts, those of one growth together, and the general ones.

    Args:
        options: a `PoolPrompt`, whose arguments these are.
    """

    wants: ClassVar[frozenset[str]] = POOLED
    position: Tensor

    def __init__(self, options: Any, depth: int, width: int, joint: int) -> None:
        super().__init__()
        self.top, self.tokens, self.first = options.top, options.form == "tokens", options.first
        self.pull, self.centred = options.pull, options.keys == "centroids"
        self.length = options.top * options.length + options.shared if self.tokens else 0
        self.fits = True
        places = options.length * (1 if self.tokens else 2)
        asked = joint + (2 * options.hands if options.clock else 0)
        self.sizes = (depth, options.size, places, width, asked, options.centres)
        self.scale, self.inherit = options.scale, options.inherit
        self.grown = nn.ModuleList()
        shared = torch.empty(options.general, 2 * options.length, width).uniform_(-1, 1)
        self.general = nn.Parameter(self.scale * shared) if options.general else None
        held = torch.empty(depth, options.shared, width).uniform_(-1, 1)
        self.shared = nn.Parameter(self.scale * held) if options.shared else None
        self.clock, self.hands, self.grows = options.clock, options.hands, options.grows
        self.register_buffer("position", torch.zeros(()))
        self.pulls: list[Tensor] = []

    def grow(self) -> bool:
        self.position.add_(float(bool(self.grown)))
        if self.grown and not self.grows:
            return True
        self.grown.requires_grad_(False)
        new = _Grown(*self.sizes, self.centred).to(next(self.parameters(), torch.empty(0)))
        new.vectors.data.mul_(self.scale)
        if self.inherit and self.grown:
            new.vectors.data.copy_(self._parts[-1].vectors)
        self.grown.append(new)
        return True

    def fit(self, features: Tensor) -> None:
        newest: Any = self.grown[-1]
        if self.grows or not self.position:  # keys that all domains share are not put anew
            put_centres(newest.centres if self.centred else newest.keys.data, self.query(features))

    def query(self, pooled: Tensor) -> Tensor:
        """Unit rows that are compared with keys, of features (B, D) at the position of now."""
        unit = normalize(pooled.detach().float(), dim=-1)
        if not self.clock:
            return unit
        code = position_code(self.position, self.hands).to(unit).expand(len(unit), -1)
        return normalize(torch.cat([unit, self.clock * code], dim=1), dim=-1)

    def begin(
        self,
        own: ImageFeatures | TextFeatures | None,
        other: ImageFeatures | TextFeatures | None = None,
    ) -> TowerPrompt:
        assert own is not None
        query = self.query(own.pooled)
        scores, vectors = self.scores(query), torch.cat([part.vectors for part in self._parts], dim=1)
        newest = self.training and len(self.grown) > 1
        if newest:
            scores, vectors = scores[:, -self.sizes[1] :], self._parts[-1].vectors
        best, chosen = scores.topk(self.top, dim=1)
        if self.training and torch.is_grad_enabled() and not self.centred:
            self.pulls.append(best.sum(1))
        taken = vectors[:, chosen].transpose(0, 1).flatten(2, 3)  # (B, depth, top * places, W)
        if self.shared is not None:
            taken = torch.cat([self.shared.expand(len(taken), -1, -1, -1), taken], dim=2)
        return Taken(taken, self.general, self.tokens, self.first, self.length, chosen.shape[1])

    def shares(self, own: ImageFeatures | TextFeatures) -> tuple[Tensor, Sequence[int]]:
        scores = self.scores(self.query(own.pooled))
        chosen = scores.topk(self.top, dim=1).indices
        weights = torch.zeros_like(scores).scatter(1, chosen, 1 / chosen.shape[1])
        return weights, [number for number, part in enumerate(self._parts) for _ in range(part.size)]

    def forward(self, layer: int) -> Tensor | None:
        return None

    def terms(self, batch: Any, outputs: Any) -> dict[str, Tensor]:
        """``pull``, of the pictures of a training step."""
        pulls, self.pulls = self.pulls, []
        return {"pull": -self.pull * torch.cat(pulls).mean()} if pulls else {}

    @property
    def _parts(self) -> list[Any]:
        return list(self.grown)

    def scores(self, query: Tensor) -> Tensor:
        """How near queries are to the prompts, (B, M)."""
        if not self.centred:
            return query @ normalize(torch.cat([part.keys for part in self._parts]), dim=-1).T
        return nearest_centres(query, [part.centres for part in self._parts], self.sizes[1])


class _Grown(nn.Module):
    """What one growth adds: prompts (depth, M, places, width), keys (M, joint) or centres (C, joint)."""

    def __init__(
        self, depth: int, size: int, places: int, width: int, joint: int, centres: int, centred: bool
    ) -> None:
        super().__init__()
        self.size = size
        self.vectors = nn.Parameter(torch.empty(depth, size, places, width).uniform_(-1, 1))
        if centred:
            self.register_buffer("centres", torch.zeros(centres, joint))
        else:
            self.keys = nn.Parameter(torch.empty(size, joint).uniform_(-1, 1))


def position_code(position: Tensor, hands: int) -> Tensor:
    """The unit code (2 * hands,) of a position (): cosines and sines of ``t / 10000 ** (k / hands)``.

    Example:
        >>> position_code(torch.tensor(0.0), 2)
        tensor([0.7071, 0.7071, 0.0000, 0.0000])
    """
    angles = position / 10000 ** (torch.arange(hands, device=position.device) / hands)
    code: Tensor = torch.cat([angles.cos(), angles.sin()]) / hands**0.5
    return code
