"""Context vectors before the caption: CoOp's text-side prompt, the simplest of `DeepPrompt`'s."""

from __future__ import annotations

from typing import Annotated

from clplat.config.space import Int
from clplat.mechanisms.prompt_sources import Free, check_room
from clplat.mechanisms.prompt_words import words_of
from clplat.models.backbone import Backbone
from clplat.parts.prompts._base import Prompt

__all__ = ["ContextPrompt", "check_room"]


class ContextPrompt(Prompt):
    """CoOp: learned vectors between the SOS and the words of every text (Zhou et al. 2022, arXiv 2109.01134).

    Attaching changes the embeddings of texts: the vectors are new words in front of the caption, and the
    caption moves by their number. Texts that no longer fit lose their last words (`Backbone.truncated`).

    Args:
        length: number of vectors.
        words: start the first vectors from the embeddings of these words, such as "a photo of a".
        std: of the normal distribution from which the other vectors start.

    What is trained: ``length * text_width`` numbers. Needs: a causal text tower.
    Relations: `DeepPrompt` has all further options: other towers and layers, several sets, networks.

    Example:
        >>> from clplat.models.backbone import Backbone
        >>> tower = {"layers": 2, "width": 32}
        >>> backbone = Backbone.random(
        ...     {
        ...         "embed_dim": 16,
        ...         "vision_cfg": {**tower, "image_size": 16, "patch_size": 8, "head_width": 16},
        ...         "text_cfg": {**tower, "context_length": 12, "heads": 2},
        ...     },
        ...     seed=0,
        ... )
        >>> ContextPrompt(length=4).attach(backbone)
        ['text_prompt.vectors']
        >>> backbone.text(backbone.tokenize(["a red shoe"])).pooled.shape
        torch.Size([1, 16])
    """

    def __init__(
        self, length: Annotated[int, Int(1, 16, log=True)] = 4, words: str = "", std: float = 0.02
    ) -> None:
        self.length = length
        self.words = words
        self.std = std

    def attach(self, backbone: Backbone) -> list[str]:
        """Install the vectors as ``backbone.text_prompt``; the values are drawn from torch's generator.

        Raises:
            UserError: the tower takes no prompt or has one, or there is no room for texts beside it.
        """
        check_room(backbone, self.length)
        vectors = words_of(backbone, self.words, self.length, self.std)
        backbone.text_prompt = Free(vectors).to(backbone.logit_scale)
        return ["text_prompt.vectors"]
