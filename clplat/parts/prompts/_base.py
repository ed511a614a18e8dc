"""The contract of a prompt learner: vectors that enter a tower beside its own tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from clplat.models.backbone import Backbone
from clplat.models.prompt import TowerPrompt

__all__ = ["Prompt", "TowerPrompt"]


class Prompt:
    """Installs a `TowerPrompt` in one or both towers: ``backbone.text_prompt``, ``backbone.image_prompt``.

    The constructor is the configuration; `attach` returns the names of the parameters that it trains.
    """

    #: Before it is trained, the towers compute what they did without it.
    identity_at_init: ClassVar[bool] = False
    #: As of an adapter: options with which its idea is gone.
    plain: ClassVar[Mapping[str, Any]] = {}

    def attach(self, backbone: Backbone) -> list[str]:
        raise NotImplementedError
