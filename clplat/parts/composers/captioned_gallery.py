"""Pictures of a gallery, and what their captions say of them."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor
from torch.nn.functional import normalize

from clplat.config.space import Float
from clplat.mechanisms.text_space import TextSpace
from clplat.models.features import NAMED, POOLED, ImageFeatures
from clplat.parts.composers._around import Around
from clplat.parts.composers._base import Composer

__all__ = ["CaptionedGallery"]


class CaptionedGallery(Around):
    """Candidates are their pictures and their captions: ``v' = n((1 - a) n(v) + a mean_k n(e(c_k)))``.

    v is what the inner composer makes of a candidate, c_k are the captions of its picture, of a table or of
    the offline stand-in (`clplat.mechanisms.text_space`), e is the text tower and n division by the L2 norm.
    A query q, which the inner composer makes, then scores ``(1 - a) q . n(v) + a mean_k q . n(e(c_k))``, but
    for the length of the sum. The index holds one vector an item, as before.

    Args:
        inner: makes queries; `Sum` unless given.
        weight: a, share of the captions.
        texts: path of a table, `clplat texts write --what galleries` makes one; empty: the stand-in.
        number: captions of each picture; 0: all of a table.

    Raises:
        ValueError: no such table, a share outside [0, 1].

    What is trained: what of ``inner`` is.

    Reference:
        Wu et al., "Training-free Zero-shot Composed Image Retrieval via Weighted Modality Fusion and
        Similarity", TAAI 2024, arXiv:2409.04918 (WeiMoCIR).

    Example:
        >>> from clplat.testing.tiny import tiny_backbone
        >>> from clplat.models.view import Towers
        >>> composer = CaptionedGallery(weight=1.0)
        >>> composer.attach(Towers(tiny_backbone()))
        >>> shown = ImageFeatures(pooled=torch.ones(1, 24), keys=["bag.jpg"], captions=["a red bag"])
        >>> said = normalize(composer.towers.text(["a red bag"]).pooled, dim=-1)
        >>> torch.allclose(composer.target(shown), said, atol=1e-6)
        True
    """

    def __init__(
        self,
        inner: Composer | None = None,
        weight: Annotated[float, Float(0.0, 1.0)] = 0.1,
        texts: str = "",
        number: int = 0,
    ) -> None:
        super().__init__(inner)
        if not 0.0 <= weight <= 1.0:
            raise ValueError(f"the share of captions must lie in [0, 1], not {weight}")
        self.weight, self.space = weight, TextSpace(texts, number)
        self.target_wants = self.inner.target_wants | POOLED | NAMED  # type: ignore[misc]

    def target(self, image: ImageFeatures) -> Tensor:
        """Candidates (B, D), unit rows.

        Raises:
            UserError: a picture of which no caption is known.
        """
        captions = self.space.captions(image.keys, image.captions)
        place = {said: i for i, said in enumerate(dict.fromkeys(said for own in captions for said in own))}
        rows = normalize(self.towers.text(list(place)).pooled, dim=-1)
        said = torch.stack([rows[[place[one] for one in own]].mean(0) for own in captions])
        shown = normalize(self.inner.target(image), dim=-1)
        return normalize((1.0 - self.weight) * shown + self.weight * said, dim=-1)
