"""Context vectors before the caption: CoOp's text-side prompt."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor, nn

from clplat.config.space import Int
from clplat.errors import UserError
from clplat.models.backbone import Backbone
from clplat.parts.prompts._base import Prompt, TowerPrompt

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
    Relations: `DeepPrompt` prompts both towers, at several layers.

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
        vectors = torch.empty(self.length, backbone.text_width).normal_(std=self.std)
        if self.words:
            ids = backbone.tokenize([self.words])[0]
            words = ids[1 : int(ids.argmax())]  # between SOS and EOT
            if len(words) > self.length:
                raise UserError(f"'{self.words}' is {len(words)} tokens, but length is {self.length}")
            vectors[: len(words)] = backbone.embed_text(words.to(backbone.logit_scale.device)).detach().cpu()
        backbone.text_prompt = _Vectors(vectors).to(backbone.logit_scale)
        return ["text_prompt.vectors"]


class _Vectors(TowerPrompt):
    """Prompt tokens that enter before the first block and go through all of them."""

    def __init__(self, vectors: Tensor) -> None:
        super().__init__()
        self.length = len(vectors)
        self.vectors = nn.Parameter(vectors)

    def forward(self, layer: int) -> Tensor | None:
        return self.vectors if layer == 0 else None


def check_room(backbone: Backbone, length: int) -> None:
    """Refuse a text prompt that the tower cannot take, or that leaves no place for SOS, a word and EOT."""
    if backbone.text_layers is None:
        raise UserError(
            f"the text tower of backbone '{backbone.name}' takes no prompt: it is not a causal CLIP tower"
        )
    if backbone.text_prompt is not None:
        raise UserError("a text prompt is attached already")
    if not 1 <= length <= backbone.context_length - 3:
        raise UserError(
            f"length is {length}; a context of {backbone.context_length} tokens allows 1 to "
            f"{backbone.context_length - 3}"
        )
