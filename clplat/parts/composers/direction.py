"""The direction of a prompt: what the text changes in another composer's query, moved to the picture."""

from __future__ import annotations

from typing import Annotated

from torch import Tensor
from torch.nn.functional import normalize

from clplat.config.space import Float
from clplat.models.features import POOLED, ImageFeatures, TextFeatures
from clplat.models.view import Towers
from clplat.parts.composers._around import Around
from clplat.parts.composers._base import Composer

__all__ = ["Direction", "unsaid"]


class Direction(Around):
    """What a text changes in the inner composer's query, added to the picture and to the query without text.

    With F the inner composer, "" the empty text, r the picture and n = division by the L2 norm:
    ``D = F(r, t) - F(r, "")``, ``q = (1 - b) n(r + a_I D) + b n(F(r, "") + a_T D)``. At a_T = b = 1 it is F.

    Args:
        inner: F, best one that reads the picture as words, such as `PseudoWord`.
        image: a_I, how far the picture goes along D.
        text: a_T, how far the inner query goes.
        share: b, of the inner query in the mean of both.

    Raises:
        ValueError: a share outside [0, 1], or a length that is no number of at least 0.

    What is trained: what of ``inner`` is.

    Reference:
        Tursun et al., "PDV: Prompt Directional Vectors for Zero-shot Composed Image Retrieval", 2025,
        arXiv:2502.07215.

    Example:
        >>> import torch
        >>> from clplat.testing.tiny import tiny_backbone
        >>> composer = Direction(share=1.0)
        >>> composer.attach(Towers(tiny_backbone()))
        >>> image, text = torch.ones(2, 24), torch.arange(48.0).view(2, 24)
        >>> torch.allclose(composer(image, text), composer.inner(image, text), atol=1e-6)
        True
    """

    def __init__(
        self,
        inner: Composer | None = None,
        image: Annotated[float, Float(0.0, 2.0)] = 1.0,
        text: Annotated[float, Float(0.0, 2.0)] = 1.0,
        share: Annotated[float, Float(0.0, 1.0)] = 0.5,
    ) -> None:
        super().__init__(inner, image=POOLED)
        if not (0.0 <= image < float("inf") and 0.0 <= text < float("inf")):
            raise ValueError(f"image and text must be numbers of at least 0, not {image} and {text}")
        if not 0.0 <= share <= 1.0:
            raise ValueError(f"the share of the inner query must lie in [0, 1], not {share}")
        self.image, self.text, self.share = image, text, share

    def forward(self, image: ImageFeatures, text: TextFeatures) -> Tensor:
        """Return (B, D), not normalised."""
        plain = self.inner(image, unsaid(self.towers, self.wants["text"], len(image.pooled)))
        change = self.inner(image, text) - plain
        shown = normalize(image.pooled + self.image * change, dim=-1)
        return (1.0 - self.share) * shown + self.share * normalize(plain + self.text * change, dim=-1)


def unsaid(towers: Towers, wants: frozenset[str], rows: int) -> TextFeatures:
    """The features of an empty text, as often as wanted."""
    return towers.text([""], wants).part([0] * rows)
