"""Where a retriever's features come from: a store of kept rows, or the towers themselves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from torch import Tensor

from clplat.data.inputs import Images, Texts
from clplat.models.backbone import Backbone
from clplat.models.features import POOLED, ImageFeatures, TextFeatures, Wants, checked_wants

__all__ = ["FeatureSource", "LiveTowers"]


class FeatureSource(Protocol):
    """Answers in place of the backbone's towers; `clplat.cache.engine.FeatureCache` is one."""

    def image(self, images: Images, wants: Wants = POOLED, *, bare: bool = False) -> ImageFeatures: ...

    def text(
        self, texts: Texts, wants: Wants = POOLED, *, other: ImageFeatures | None = None, bare: bool = False
    ) -> TextFeatures: ...

    def prepare(
        self,
        images: Images,
        texts: Texts,
        image_wants: Wants = POOLED,
        text_wants: Wants = POOLED,
        again: bool = False,
    ) -> None: ...

    def live_images(self, wants: Wants = POOLED) -> bool: ...

    def refresh(self) -> None: ...

    @property
    def beside(
        self,
    ) -> Callable[[Mapping[str, Any], Sequence[str], int, Callable[[list[int]], Tensor]], Tensor]:
        """Key, names, items at once, how they are made -> rows of what is no tower of the model."""

    def counting(self) -> AbstractContextManager[Callable[[], int]]: ...


class LiveTowers:
    """The towers, run for every request.

    Args:
        backbone: whose they are.
    """

    def __init__(self, backbone: Backbone) -> None:
        self.backbone = backbone

    def image(self, images: Images, wants: Wants = POOLED, *, bare: bool = False) -> ImageFeatures:
        """Features of pictures, with their keys; nothing is decoded where nothing is wanted.

        Args:
            bare: without the prompt.
        """
        if not checked_wants(wants):
            return ImageFeatures(keys=images.names, captions=images.captions)
        found = self.backbone.image(images.pixels.to(self.backbone.logit_scale.device), wants, bare=bare)
        found.keys, found.captions = images.names, images.captions
        return found

    def text(
        self, texts: Texts, wants: Wants = POOLED, *, other: ImageFeatures | None = None, bare: bool = False
    ) -> TextFeatures:
        """Features of texts, with the texts; as `image`."""
        backbone = self.backbone
        whole = "tokens" in wants or backbone.text_layers is None
        length = None if whole else max(texts.lengths)
        ids = texts.ids.to(backbone.logit_scale.device)
        found = backbone.text(ids, wants, other=other, length=length, bare=bare)
        found.texts = texts.said
        return found
