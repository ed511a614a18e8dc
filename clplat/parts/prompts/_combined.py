"""Several prompts as one: ``--prompt context,mine``."""

from __future__ import annotations

from collections.abc import Sequence

from clplat.errors import UserError
from clplat.models.backbone import Backbone
from clplat.parts.prompts._base import Prompt, TowerPrompt

__all__ = ["CombinedPrompt"]

_TOWERS = ("text_prompt", "image_prompt")


class CombinedPrompt(Prompt):
    """Prompts of different towers, attached in their order.

    Args:
        parts: the prompts; a tower takes the vectors of one of them.
    """

    def __init__(self, parts: Sequence[Prompt]) -> None:
        self.parts = list(parts)

    def attach(self, backbone: Backbone) -> list[str]:
        """Attach each.

        Raises:
            UserError: two of them prompt one tower, a tower has a prompt, or one does not fit the backbone.
        """
        found: list[str] = []
        taken: dict[str, tuple[str, TowerPrompt]] = {}
        for part in self.parts:
            name = type(part).__name__
            found += part.attach(backbone)
            for tower in _TOWERS:
                prompt = getattr(backbone, tower)
                if prompt is not None and tower in taken:
                    raise UserError(
                        f"{name} cannot be combined with {taken[tower][0]}: both prompt the "
                        f"{tower.removesuffix('_prompt')} tower, which takes one prompt"
                    )
                if prompt is not None:
                    taken[tower] = (name, prompt)
                    setattr(backbone, tower, None)  # each finds the towers bare
        for tower, (_, prompt) in taken.items():
            setattr(backbone, tower, prompt)
        return found
