"""CODA-Prompt: prefixes of attention, put together for each sample from components that grow."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from clplat.config.space import Choice, Float, Int
from clplat.errors import UserError
from clplat.models.backbone import Backbone
from clplat.models.features import POOLED, ImageFeatures, TextFeatures
from clplat.models.prompt import Prefix, TowerPrompt
from clplat.models.stages import Tower
from clplat.parts.prompts._base import Prompt

__all__ = ["CodaPrompt"]


class CodaPrompt(Prompt):
    """CODA-Prompt: prefixes for keys and values, sums of components weighted by the sample.

    At each of the first layers

        p = sum_m cos(q * A_m, K_m) P_m,

    where q is the pooled feature of the same tower without the prompt, and the halves of p are put before the
    keys and the values of the layer's attention. The prompts of a picture depend on nothing but the picture.

    `clplat.models.prompt.TowerPrompt.grow` freezes all components and adds as many again, orthogonal to them;
    the strategy ``growing_prompt`` calls it for every domain.

    Args:
        components: M, of each layer and growth.
        length: of p, an even number: half of it keys, half values.
        depth: number of layers with prompts, from the first on; a tower with fewer has them at all layers.
        towers: prompt one tower or both.
        orthogonality: weight of ``|B B' - I|^2`` of each layer's P, K and A, their means over the entries.
        query: what asks for the prompts of a text that modifies a picture: the text's ``own`` feature, the
            ``picture``, or both ``composed``, the sum of their unit features. Alone it goes by its own.

    Raises:
        ValueError: a size below 1, an odd length, a weight below 0, another tower or query, or a query for
            pictures.

    What is trained: ``depth * components * (length * width + 2 * joint width)`` numbers a tower.

    Reference:
        Smith et al., "CODA-Prompt: COntinual Decomposed Attention-based Prompting for Rehearsal-Free
        Continual Learning", CVPR 2023, arXiv:2211.13218.

    Example:
        >>> from clplat.testing.tiny import tiny_backbone
        >>> CodaPrompt(components=2, length=2, depth=1).attach(tiny_backbone())
        ['image_prompt.grown.0.prompts', 'image_prompt.grown.0.keys', 'image_prompt.grown.0.attention']
    """

    def __init__(
        self,
        components: Annotated[int, Int(2, 32, log=True)] = 8,
        length: int = 8,
        depth: Annotated[int, Int(1, 12)] = 5,
        towers: Literal["image", "text", "both"] = "image",
        orthogonality: Annotated[float, Float(0.0, 1.0)] = 0.1,
        query: Annotated[Literal["own", "picture", "composed"], Choice("own", "picture", "composed")] = "own",
    ) -> None:
        if min(components, length, depth) < 1 or length % 2:
            raise ValueError(
                f"needs components and depth >= 1 and an even length >= 2, "
                f"not {components}, {depth} and {length}"
            )
        if not orthogonality >= 0:
            raise ValueError(f"orthogonality must be at least 0, not {orthogonality}")
        if towers not in ("image", "text", "both"):
            raise ValueError(f"towers is '{towers}'; allowed: image, text, both")
        if query not in ("own", "picture", "composed"):
            raise ValueError(f"query is '{query}'; allowed: own, picture, composed")
        if query != "own" and towers == "image":
            raise ValueError("a picture's prompts go by the picture alone: query is of the text tower")
        self.components = components
        self.query = query
        self.length = length
        self.depth = depth
        self.towers = towers
        self.orthogonality = orthogonality

    def attach(self, backbone: Backbone) -> list[str]:
        """Install the first components; they are drawn from torch's generator.

        Raises:
            UserError: a tower takes no prompt or has one.
        """
        chosen: list[Tower] = ["image", "text"] if self.towers == "both" else [self.towers]
        for tower in chosen:
            if getattr(backbone, f"{tower}_prompt") is not None:
                raise UserError(f"a prompt of the {tower} tower is attached already")
            if getattr(backbone, f"{tower}_layers") is None:
                raise UserError(f"the {tower} tower of backbone '{backbone.name}' takes no prompt")
        for tower in chosen:
            layers, width = getattr(backbone, f"{tower}_layers"), getattr(backbone, f"{tower}_width")
            sizes = (min(self.depth, layers), self.components, self.length, width, backbone.embed_dim)
            kind = _Asked if tower == "text" and self.query != "own" else _Components
            prompt = kind(*sizes, self.orthogonality, self.query)
            prompt.grow()
            setattr(backbone, f"{tower}_prompt", prompt.to(backbone.logit_scale))
        return [
            f"{tower}_prompt.{name}"
            for tower in chosen
            for name, _ in getattr(backbone, f"{tower}_prompt").named_parameters()
        ]


class _Components(TowerPrompt):
    """The components of one tower, those of one growth together."""

    length = 0
    wants: ClassVar[frozenset[str]] = POOLED

    def __init__(
        self, depth: int, count: int, places: int, width: int, joint: int, weight: float, asks: str = "own"
    ) -> None:
        super().__init__()
        self.asks = asks
        self.depth, self.count, self.places, self.weight = depth, count, places, weight
        self.width, self.joint = width, joint
        self.grown = nn.ModuleList()

    def grow(self) -> bool:
        known = [self._held(name) for name in ("prompts", "keys", "attention")]
        sizes = (self.places * self.width, self.joint, self.joint)
        new = [_orthogonal(old, self.count, size) for old, size in zip(known, sizes, strict=True)]
        self.grown.requires_grad_(False)
        like = next(self.parameters(), torch.empty(0))
        self.grown.append(_Grown(*new).to(like))
        return True

    def _held(self, name: str) -> Tensor:
        """All components (depth, M, size) of one kind, flat."""
        held = [getattr(grown, name) for grown in self.grown]
        return torch.cat(held, dim=1) if held else torch.empty(self.depth, 0, 0)

    def begin(
        self,
        own: ImageFeatures | TextFeatures | None,
        other: ImageFeatures | TextFeatures | None = None,
    ) -> TowerPrompt:
        assert own is not None
        prompts, keys, attention = (self._held(name) for name in ("prompts", "keys", "attention"))
        query = self._query(own, other).detach().to(keys.dtype)
        attended = normalize(query[:, None, None] * attention, dim=-1)  # (B, depth, M, D)
        weights = (attended * normalize(keys, dim=-1)).sum(dim=-1)
        chosen = torch.einsum("blm,lms->bls", weights, prompts)
        return _Chosen(chosen.view(*chosen.shape[:2], self.places, self.width))

    def _query(self, own: ImageFeatures | TextFeatures, other: ImageFeatures | TextFeatures | None) -> Tensor:
        if other is None or self.asks == "own":
            return own.pooled
        if self.asks == "picture":
            return other.pooled
        return normalize(own.pooled.float(), dim=-1) + normalize(other.pooled.float(), dim=-1)

    def forward(self, layer: int) -> Tensor | None:
        return None

    def terms(self, batch: Any, outputs: Any) -> dict[str, Tensor]:
        """``orthogonality``, where it has a weight."""
        if not self.weight:
            return {}
        held = [self._held(name) for name in ("prompts", "keys", "attention")]
        eye = torch.eye(held[0].shape[1], device=held[0].device)
        penalties = [(rows @ rows.mT - eye).square().mean() for rows in held]
        return {"orthogonality": self.weight * torch.stack(penalties).sum()}


class _Asked(_Components):
    """The components of the text tower, which the picture that a text modifies asks for."""

    reads_other: ClassVar[bool] = True


class _Grown(nn.Module):
    """What one growth adds: P (depth, M, places * width), K and A (depth, M, joint)."""

    def __init__(self, prompts: Tensor, keys: Tensor, attention: Tensor) -> None:
        super().__init__()
        self.prompts, self.keys = nn.Parameter(prompts), nn.Parameter(keys)
        self.attention = nn.Parameter(attention)


class _Chosen(TowerPrompt):
    """The prefixes of one pass."""

    length = 0

    def __init__(self, chosen: Tensor) -> None:
        super().__init__()
        self.chosen = chosen  # (B, depth, places, W)

    def forward(self, layer: int) -> Tensor | None:
        return None

    def prefix(self, layer: int) -> Prefix | None:
        if layer >= self.chosen.shape[1]:
            return None
        keys, values = self.chosen[:, layer].chunk(2, dim=1)
        return keys, values


def _orthogonal(known: Tensor, count: int, size: int) -> Tensor:
    """New unit rows (depth, count, size), orthogonal to each other and to those that are known.

    Where no more rows can be orthogonal to all, as many as possible are, and the others are drawn freely.
    """
    layers = []
    for old in known.detach().cpu().double():
        rows = [row for row in old if old.numel()]
        drawn = torch.randn(count, size).double()
        for row in drawn:
            left = row.clone()
            for other in rows:
                left = left - (left @ other) / (other @ other) * other
            rows.append(normalize(left if left.norm() > 1e-6 * row.norm() else row, dim=0))
        layers.append(torch.stack(rows[-count:]))
    return torch.stack(layers).float()
