"""A pool of prompts with keys: each picture takes those whose keys its frozen feature is nearest to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from clplat.config.space import Choice, Float, Int
from clplat.errors import UserError
from clplat.models.backbone import Backbone
from clplat.models.features import POOLED, ImageFeatures, TextFeatures
from clplat.models.prompt import TowerPrompt
from clplat.parts.prompts._base import Prompt
from clplat.parts.prompts._chosen_texts import ChosenTexts, nearest_centres, put_centres
from clplat.parts.prompts._taken import Taken
from clplat.parts.prompts.context import check_room

__all__ = ["PoolPrompt"]


class PoolPrompt(Prompt):
    """Prompts of the image tower, of which each picture gets the ``top`` nearest by their keys.

        pull = -mean_x sum_{m chosen for x} cos(q(x), k_m)

    is added to the loss with a weight of ``pull``: it draws the chosen keys to the pictures. The query q is
    the pooled feature of the tower without the prompt; a picture's prompts depend on the picture alone.

    `clplat.models.prompt.TowerPrompt.grow` freezes the pool and adds as many again; the strategy
    ``growing_prompt`` calls it for every domain. In training a pool that has grown uses its newest prompts
    alone: whose domain a training picture is, is known. Keys of a domain start at k-means centres of its
    frozen features, where pulling them ends; without ``growing_prompt`` they are drawn.

    Args:
        size: prompts, of each growth.
        top: prompts that a picture gets, N.
        length: vectors of each prompt; of prefixes, keys, and as many values.
        form: ``tokens`` go through the tower beside those of the picture, a ``prefix`` into attention alone.
        first: the first layer with prompts, 0 the lowest.
        depth: layers with prompts of their own; of tokens, those after go on with what became of them.
        general: the lowest layers that get a prefix which all pictures share and every domain trains on.
        keys: learnt and pulled (``trained``), or k-means centres of each domain's frozen features
            (``centroids``), of which the nearest by the Manhattan distance decides.
        centres: of each prompt that goes by centroids.
        words: vectors of a prompt of the text tower beside each, which goes with the picture that a text
            modifies; 0: pictures alone are prompted. Texts alone go by centroids of texts.
        pull: weight of the pull, for trained keys.
        scale: vectors are drawn evenly between its negative and itself; few steps turn small ones alone.
        inherit: vectors of a growth start as those of the one before; otherwise they are drawn.

    Raises:
        ValueError: a size below 1, more prompts for a picture than there are, no pull for trained keys, no
            scale.

    What is trained: ``size * depth * length * width`` numbers, twice that for prefixes; the keys, ``size *
    joint width``; and ``2 * general * length * width``.

    Reference:
        Wang et al., "Learning to Prompt for Continual Learning" (L2P), CVPR 2022, arXiv:2112.08654, and
        "DualPrompt", ECCV 2022, arXiv:2204.04799; Wang et al., "S-Prompts Learning with Pre-trained
        Transformers", NeurIPS 2022, arXiv:2207.12819.

    Example:
        >>> from clplat.testing.tiny import tiny_backbone
        >>> PoolPrompt(size=3, top=2).attach(tiny_backbone())
        ['image_prompt.grown.0.vectors', 'image_prompt.grown.0.keys']
    """

    #: With one pool for each domain, which one a picture takes can be right or wrong.
    routes: ClassVar[bool] = True
    #: Every picture gets all of them.
    plain: ClassVar[dict[str, Any]] = {"size": "top"}

    def __init__(
        self,
        size: Annotated[int, Int(1, 20, log=True)] = 10,
        top: Annotated[int, Int(1, 5)] = 2,
        length: Annotated[int, Int(1, 10)] = 2,
        form: Annotated[Literal["tokens", "prefix"], Choice("tokens", "prefix")] = "tokens",
        first: int = 0,
        depth: int = 1,
        general: int = 0,
        keys: Literal["trained", "centroids"] = "trained",
        centres: int = 5,
        words: int = 0,
        pull: Annotated[float, Float(0.01, 1.0, log=True)] = 0.1,
        scale: Annotated[float, Float(0.003, 1.0, log=True)] = 0.03,
        inherit: bool = False,
    ) -> None:
        if min(size, top, length, depth, centres) < 1 or min(first, general, words) < 0:
            raise ValueError("size, top, length, depth and centres are at least 1; first, general, words 0")
        if top > size:
            raise ValueError(f"a picture cannot get {top} of {size} prompts")
        if form not in ("tokens", "prefix") or keys not in ("trained", "centroids"):
            raise ValueError(f"form is tokens or prefix, keys trained or centroids, not {form} and {keys}")
        if form == "tokens" and first:
            raise ValueError("tokens enter at the lowest layer: first is 0 for them")
        if words and keys != "centroids":
            raise ValueError("prompts of texts go with centroids: no key of theirs is trained")
        if not pull > 0:
            raise ValueError(f"pull must be above 0, or keys stay where they were drawn, not {pull}")
        if not scale > 0:
            raise ValueError(f"scale must be above 0, not {scale}")
        self.size, self.top, self.length, self.form = size, top, length, form
        self.first, self.depth, self.general = first, depth, general
        self.keys, self.centres, self.words, self.pull = keys, centres, words, pull
        self.scale, self.inherit = scale, inherit

    def attach(self, backbone: Backbone) -> list[str]:
        """Install the first prompts; they are drawn from torch's generator.

        Raises:
            UserError: the tower takes no prompt or has one, or it has no such layers.
        """
        if backbone.image_prompt is not None:
            raise UserError("a prompt of the image tower is attached already")
        if backbone.image_layers is None or backbone.image_width is None:
            raise UserError(f"the image tower of backbone '{backbone.name}' takes no prompt")
        if self.first >= backbone.image_layers:
            raise UserError(f"first is {self.first}, but the image tower has {backbone.image_layers} layers")
        depth = min(self.depth, backbone.image_layers - self.first)
        pool = _Pool(self, depth, backbone.image_width, backbone.embed_dim)
        if self.words:
            check_room(backbone, self.top * self.words)
            backbone.text_prompt = self._texts(backbone, pool)
        pool.grow()
        backbone.image_prompt = pool.to(backbone.logit_scale)
        found = {"image": backbone.image_prompt, "text": backbone.text_prompt if self.words else None}
        return [f"{t}_prompt.{n}" for t, part in found.items() if part for n, _ in part.named_parameters()]

    def _texts(self, backbone: Backbone, pool: _Pool) -> ChosenTexts:
        """The prompts of the text tower beside a pool."""
        sizes = {"size": self.size, "top": self.top, "words": self.words, "centres": self.centres}
        wide = {"width": backbone.text_width, "joint": backbone.embed_dim}
        found = ChosenTexts(pool.scores, **sizes, **wide)
        found.grow()
        return found.to(backbone.logit_scale)


class _Pool(TowerPrompt):
    """All prompts, those of one growth together, and the general ones."""

    wants: ClassVar[frozenset[str]] = POOLED

    def __init__(self, options: PoolPrompt, depth: int, width: int, joint: int) -> None:
        super().__init__()
        self.top, self.tokens, self.first = options.top, options.form == "tokens", options.first
        self.pull, self.centred = options.pull, options.keys == "centroids"
        self.length = options.top * options.length if self.tokens else 0
        self.fits = True
        places = options.length * (1 if self.tokens else 2)
        self.sizes = (depth, options.size, places, width, joint, options.centres)
        self.scale, self.inherit = options.scale, options.inherit
        self.grown = nn.ModuleList()
        shared = torch.empty(options.general, 2 * options.length, width).uniform_(-1, 1)
        self.general = nn.Parameter(self.scale * shared) if options.general else None
        self.pulls: list[Tensor] = []

    def grow(self) -> bool:
        self.grown.requires_grad_(False)
        new = _Grown(*self.sizes, self.centred).to(next(self.parameters(), torch.empty(0)))
        new.vectors.data.mul_(self.scale)
        if self.inherit and self.grown:
            new.vectors.data.copy_(self._parts[-1].vectors)
        self.grown.append(new)
        return True

    def fit(self, features: Tensor) -> None:
        newest: Any = self.grown[-1]
        put_centres(newest.centres if self.centred else newest.keys.data, features)

    def begin(
        self,
        own: ImageFeatures | TextFeatures | None,
        other: ImageFeatures | TextFeatures | None = None,
    ) -> TowerPrompt:
        assert own is not None
        query = normalize(own.pooled.detach().float(), dim=-1)
        scores, vectors = self.scores(query), torch.cat([part.vectors for part in self._parts], dim=1)
        newest = self.training and len(self.grown) > 1
        if newest:
            scores, vectors = scores[:, -self.sizes[1] :], self._parts[-1].vectors
        best, chosen = scores.topk(self.top, dim=1)
        if self.training and torch.is_grad_enabled() and not self.centred:
            self.pulls.append(best.sum(1))
        taken = vectors[:, chosen].transpose(0, 1).flatten(2, 3)  # (B, depth, top * places, W)
        return Taken(taken, self.general, self.tokens, self.first, self.length, chosen.shape[1])

    def shares(self, own: ImageFeatures | TextFeatures) -> tuple[Tensor, Sequence[int]]:
        scores = self.scores(normalize(own.pooled.float(), dim=-1))
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
