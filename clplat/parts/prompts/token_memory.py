"""A memory of tokens: one for each domain, which is its own key and the prompt of what it is found for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from clplat.config.space import Choice, Float
from clplat.errors import UserError
from clplat.mechanisms.expert_scores import centres_of
from clplat.models.backbone import Backbone
from clplat.models.features import POOLED, ImageFeatures, TextFeatures
from clplat.models.prompt import TowerPrompt
from clplat.models.stages import Tower
from clplat.models.text_tower import projected_text
from clplat.parts.prompts._base import Prompt
from clplat.parts.prompts._taken import Taken
from clplat.parts.prompts.context import check_room

__all__ = ["TokenMemory"]


class TokenMemory(Prompt):
    """TokMem: a bank of tokens, of which an input gets the one that it is nearest to.

    A token m of a tower's width is the prompt of its inputs, and by the tower's own frozen projection W it is
    also where they find it: ``cos(q, m W)``, with q the pooled feature of the tower without the prompt. There
    are no keys beside the tokens. In training every input has the newest, and

        address = mean_x [1 - cos(q(x), m_new W) - log softmax_m(cos(q(x), m W) / temperature)_new]

    is added to the loss with its weight. ``grow`` freezes the bank and adds a token (the strategy
    ``growing_prompt`` calls it for every domain), whose norm is kept at the mean norm of the frozen ones: a
    longer one would outdo them as a prompt. What an input makes of an old token never changes, so that an
    old domain's embeddings stay equal to the bit wherever the right token is found.

    Args:
        towers: give tokens to one tower, or each its own; a text goes by its own feature.
        address: weight of the address term.
        temperature: of the cosines.
        renormalise: hold new tokens at the norm of old ones.

    Raises:
        ValueError: other towers, a weight or a temperature not above 0.

    What is trained: ``width`` numbers a tower and domain.

    Relations: `PoolPrompt` has keys beside its prompts, of any number and length.

    Reference:
        Wu et al., "TokMem: Tokenized Procedural Memory for Large Language Models", 2025, arXiv:2510.00444.

    Example:
        >>> from clplat.testing.tiny import tiny_backbone
        >>> TokenMemory().attach(tiny_backbone())
        ['image_prompt.grown.0.token', 'text_prompt.grown.0.token']
    """

    routes: ClassVar[bool] = True

    def __init__(
        self,
        towers: Annotated[Literal["image", "text", "both"], Choice("image", "text", "both")] = "both",
        address: Annotated[float, Float(0.01, 1.0, log=True)] = 0.1,
        temperature: Annotated[float, Float(0.01, 1.0, log=True)] = 0.1,
        renormalise: bool = True,
    ) -> None:
        if towers not in ("image", "text", "both"):
            raise ValueError(f"towers is '{towers}'; allowed: image, text, both")
        if not (address > 0 and temperature > 0):
            raise ValueError(f"address and temperature must be above 0, not {address} and {temperature}")
        self.towers, self.address = towers, address
        self.temperature, self.renormalise = temperature, renormalise

    def attach(self, backbone: Backbone) -> list[str]:
        """Install the first token of each tower, as long as the tower's own; drawn by torch's generator.

        Raises:
            UserError: a tower takes no prompt or has one.
        """
        chosen: list[Tower] = ["image", "text"] if self.towers == "both" else [self.towers]
        if "image" in chosen and backbone.image_prompt is not None:
            raise UserError("a prompt of the image tower is attached already")
        if "image" in chosen and backbone.image_layers is None:
            raise UserError(f"the image tower of backbone '{backbone.name}' takes no prompt")
        if "text" in chosen:
            check_room(backbone, 1)
        for tower in chosen:
            bank = _Bank(self, tower, backbone.model)
            bank.grow()
            setattr(backbone, f"{tower}_prompt", bank.to(backbone.logit_scale))
        return [f"{tower}_prompt.grown.0.token" for tower in chosen]


class _Bank(TowerPrompt):
    """The tokens of one tower."""

    length = 1
    wants: ClassVar[frozenset[str]] = POOLED
    fits = True

    def __init__(self, options: TokenMemory, tower: Tower, model: Any) -> None:
        super().__init__()
        self.address, self.temperature = options.address, options.temperature
        self.renormalise, self.tower = options.renormalise, tower
        # In a tuple: the projection and the lengths of tokens are the tower's, and no part of the prompt.
        self.model = (model,)
        self.grown = nn.ModuleList()
        self.addresses: list[Tensor] = []

    def projected(self, tokens: Tensor) -> Tensor:
        """Tokens (..., W) in the joint space (..., D)."""
        model = self.model[0]
        if self.tower == "text":
            return projected_text(getattr(model, "text", model), tokens)
        return tokens if model.visual.proj is None else tokens @ model.visual.proj

    @torch.no_grad()
    def _size(self) -> tuple[int, float]:
        """The width of the tower, and how long a token of its own is."""
        model = self.model[0]
        if self.tower == "text":
            words = getattr(model, "text", model).token_embedding.weight
            return words.shape[1], float(words.norm(dim=1).mean())
        visual = model.visual
        entered = visual.ln_pre(visual.class_embedding + visual.positional_embedding[0])
        return len(entered), float(entered.norm())

    def grow(self) -> bool:
        width, norm = self._size()
        old = [part.value().detach().norm() for part in self._parts]
        self.grown.requires_grad_(False)
        held = float(torch.stack(old).mean()) if old and self.renormalise else 0.0
        drawn = normalize(torch.randn(width), dim=0) * (held or norm)
        self.grown.append(_Token(drawn, held).to(next(self.parameters(), torch.empty(0))))
        return True

    @torch.no_grad()
    def fit(self, features: Tensor) -> None:
        """Put the newest token where its domain's features find it best."""
        newest = self._parts[-1]
        centre = centres_of(normalize(features.float(), dim=-1), 1)[0]
        eye = torch.eye(len(newest.token), device=centre.device)
        matrix = self.projected(eye) - self.projected(torch.zeros_like(eye))  # without a bias, if it has one
        found = centre @ torch.linalg.pinv(matrix)
        newest.token.copy_(normalize(found, dim=0) * newest.token.norm())

    def scores(self, query: Tensor) -> Tensor:
        """How near unit queries (B, D) are to each token (B, M)."""
        return query @ normalize(self.projected(self._tokens()), dim=-1).T

    def _tokens(self) -> Tensor:
        return torch.stack([part.value() for part in self._parts])

    @property
    def _parts(self) -> list[Any]:
        return list(self.grown)

    def begin(
        self,
        own: ImageFeatures | TextFeatures | None,
        other: ImageFeatures | TextFeatures | None = None,
    ) -> TowerPrompt:
        assert own is not None
        scores, tokens = self.scores(normalize(own.pooled.detach().float(), dim=-1)), self._tokens()
        newest = torch.full((len(scores),), len(tokens) - 1, device=scores.device)
        chosen = newest if self.training else scores.argmax(dim=1)
        if self.training and torch.is_grad_enabled():
            told = cross_entropy(scores / self.temperature, newest, reduction="none")
            self.addresses.append(1 - scores[:, -1] + told)
        return Taken(tokens[chosen][:, None, None], None, tokens=True, first=0, length=1, top=1)

    def shares(self, own: ImageFeatures | TextFeatures) -> tuple[Tensor, Sequence[int]]:
        scores = self.scores(normalize(own.pooled.float(), dim=-1))
        found = torch.zeros_like(scores).scatter(1, scores.argmax(1, keepdim=True), 1.0)
        return found, [*range(len(self.grown))]

    def forward(self, layer: int) -> Tensor | None:
        return None

    def terms(self, batch: Any, outputs: Any) -> dict[str, Tensor]:
        """``address``, of the inputs of a training step."""
        found, self.addresses = self.addresses, []
        return {"address": self.address * torch.cat(found).mean()} if found else {}


class _Token(nn.Module):
    """A token (W,); of a norm that is held, if that is not 0."""

    def __init__(self, drawn: Tensor, held: float) -> None:
        super().__init__()
        self.token = nn.Parameter(drawn)
        self.register_buffer("held", torch.tensor(held))

    def value(self) -> Tensor:
        held: Any = self.held
        return torch.where(held > 0, normalize(self.token, dim=0) * held, self.token)
