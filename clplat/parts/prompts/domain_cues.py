"""Prompts of pictures that read what is known of all domains: cues which every domain adds."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from clplat.config.space import Int
from clplat.errors import UserError
from clplat.mechanisms.attention import Decoder
from clplat.models.backbone import Backbone
from clplat.models.features import POOLED, ImageFeatures, TextFeatures
from clplat.models.prompt import TowerPrompt
from clplat.parts.prompts._base import Prompt
from clplat.parts.prompts._chosen_texts import put_centres
from clplat.parts.prompts._taken import Taken

__all__ = ["DomainCuesPrompt"]


class DomainCuesPrompt(Prompt):
    """OSLoPrompt's prompts without a domain's name: generic vectors that attend to cues of all domains.

    At each of the first ``depth`` layers of the image tower a picture x gets the vectors

        p_l = c_l + A(c_l, [cues of every domain seen; q(x) / |q(x)|]),

    with c trained vectors, A attention with an MLP behind it, zero at first, and q the pooled feature of the
    tower without the prompt. ``grow`` freezes the cues and adds those of the next domain, which begin at
    k-means centres of its features (the strategy ``growing_prompt`` calls both); c and A are what all domains
    share and train on. No domain is named or chosen: a picture of none of them reads what is near to it.

    Args:
        length: vectors of each layer.
        depth: layers with vectors of their own, from the first on; a tower with fewer has them at all.
        cues: of each domain.
        width: inside A.
        heads: of its attention, at most.
        std: of the normal distribution from which c start.

    Raises:
        ValueError: a size below 1.

    What is trained: ``depth * length * width of the tower``, ``cues * joint width`` and about
    ``16 * width^2`` numbers.

    Relations: `PoolPrompt` chooses among prompts of domains; here all cues are read, and A is shared.

    Reference:
        Hassan et al., "OSLoPrompt: Bridging Low-Supervision Challenges and Open-Set Domain Generalization in
        CLIP", CVPR 2025, arXiv:2503.16106.

    Example:
        >>> from clplat.testing.tiny import tiny_backbone
        >>> DomainCuesPrompt(length=2, cues=3).attach(tiny_backbone())[:2]
        ['image_prompt.vectors', 'image_prompt.reader.asked.0.weight']
    """

    def __init__(
        self,
        length: Annotated[int, Int(1, 8, log=True)] = 4,
        depth: Annotated[int, Int(1, 12)] = 1,
        cues: Annotated[int, Int(1, 16, log=True)] = 4,
        width: int = 64,
        heads: int = 4,
        std: float = 0.02,
    ) -> None:
        if min(length, depth, cues, width, heads) < 1:
            raise ValueError(
                "length, depth, cues, width and heads must be at least 1, not "
                f"{length}, {depth}, {cues}, {width} and {heads}"
            )
        self.length, self.depth, self.cues = length, depth, cues
        self.width, self.heads, self.std = width, heads, std

    def attach(self, backbone: Backbone) -> list[str]:
        """Install vectors, attention and the first cues, drawn from torch's generator.

        Raises:
            UserError: the tower takes no prompt or has one.
        """
        if backbone.image_prompt is not None:
            raise UserError("a prompt of the image tower is attached already")
        if backbone.image_layers is None or backbone.image_width is None:
            raise UserError(f"the image tower of backbone '{backbone.name}' takes no prompt")
        depth = min(self.depth, backbone.image_layers)
        prompt = _Cued(self, depth, backbone.image_width, backbone.embed_dim)
        prompt.grow()
        backbone.image_prompt = prompt.to(backbone.logit_scale)
        return [f"image_prompt.{name}" for name, _ in prompt.named_parameters()]


class _Cued(TowerPrompt):
    """The generic vectors, the cues of each domain, and what reads them."""

    wants: ClassVar[frozenset[str]] = POOLED
    fits = True

    def __init__(self, options: DomainCuesPrompt, depth: int, width: int, joint: int) -> None:
        super().__init__()
        self.length, self.sizes = options.length, (options.cues, joint)
        self.vectors = nn.Parameter(torch.empty(depth, options.length, width).normal_(std=options.std))
        self.reader = Decoder(width, joint, width=options.width, heads=options.heads, depth=1)
        for parameter in self.reader.out[1].parameters():
            nn.init.zeros_(parameter)
        self.grown = nn.ParameterList()

    def grow(self) -> bool:
        self.grown.requires_grad_(False)
        drawn = normalize(torch.randn(*self.sizes), dim=-1)
        self.grown.append(nn.Parameter(drawn.to(self.vectors)))
        return True

    def fit(self, features: Tensor) -> None:
        put_centres(self.grown[-1].data, features)

    def begin(
        self,
        own: ImageFeatures | TextFeatures | None,
        other: ImageFeatures | TextFeatures | None = None,
    ) -> TowerPrompt:
        assert own is not None
        seen = normalize(own.pooled.detach().to(self.vectors.dtype), dim=-1)
        cues = torch.cat([*self.grown]).expand(len(seen), -1, -1)
        asked = self.vectors.flatten(0, 1).expand(len(seen), -1, -1)
        made: Any = asked + self.reader(asked, torch.cat([cues, seen[:, None]], dim=1))
        made = made.unflatten(1, self.vectors.shape[:2])
        return Taken(made, None, tokens=True, first=0, length=self.length, top=1)

    def forward(self, layer: int) -> Tensor | None:
        return None
