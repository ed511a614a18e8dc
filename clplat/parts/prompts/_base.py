"""The contract of a prompt learner: vectors that enter a tower beside its own tokens."""

from __future__ import annotations

from torch import Tensor, nn

from clplat.models.backbone import Backbone

__all__ = ["Prompt", "TowerPrompt"]


class TowerPrompt(nn.Module):
    """Prompt vectors of one tower: P tokens after the first token (CLS or SOS).

    A backbone asks for ``prompt(layer)`` before every block: ``None`` keeps what the block before put out,
    a (P, W) tensor replaces the P prompt tokens. ``prompt(0)`` is never None.
    """

    length: int

    def forward(self, layer: int) -> Tensor | None:
        raise NotImplementedError


class Prompt:
    """Installs a `TowerPrompt` in one or both towers: ``backbone.text_prompt``, ``backbone.image_prompt``.

    The constructor is the configuration; `attach` returns the names of the parameters that it trains.
    """

    def attach(self, backbone: Backbone) -> list[str]:
        raise NotImplementedError
