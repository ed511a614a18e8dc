"""The composed retriever: pictures to gallery embeddings, picture + text to query embeddings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clplat.data.batch import Batch
from clplat.data.columns import Column
from clplat.data.inputs import Images, Texts
from clplat.mechanisms.routing import Router
from clplat.models.backbone import Backbone
from clplat.models.features import ImageFeatures, TextFeatures
from clplat.models.items import embed_items, in_order
from clplat.models.outputs import Outputs
from clplat.parts.composers._base import Composer
from clplat.parts.projections._base import Projection
from clplat.parts.projections.identity import Identity

__all__ = ["ComposedRetriever", "FeatureSource"]


class FeatureSource(Protocol):
    """Answers in place of the backbone's towers; `clplat.cache.engine.FeatureCache` is one."""

    def image(self, images: Images, *, tokens: bool = False) -> ImageFeatures: ...

    def text(self, texts: Texts, *, tokens: bool = False) -> TextFeatures: ...

    def prepare(self, images: Images, texts: Texts, tokens: bool = False, again: bool = False) -> None: ...

    def live_images(self, tokens: bool = False) -> bool: ...

    def refresh(self) -> None: ...

    def counting(self) -> AbstractContextManager[Callable[[], int]]: ...


class ComposedRetriever(nn.Module):
    """CLIP backbone + composer (+ projection to older versions, + head for what is stored, + router).

    Args:
        backbone: the towers, with adapters and prompts inside.
        composer: features of reference and text -> query.
        projection: maps this version's embeddings into an older version's space; fitted after training.
        head: turns embeddings into what is stored; applied to queries and gallery alike.

    ``router`` is set by strategies that keep one adapter per domain; a forward pass in training mode uses the
    active adapter, embeddings in evaluation mode go through the router. ``cache`` keeps what is frozen;
    without it everything is computed by the towers. ``precision`` is what the towers compute in (autocast);
    embeddings are float32 whatever it is.
    """

    def __init__(
        self,
        backbone: Backbone,
        composer: Composer,
        projection: Projection | None = None,
        head: nn.Module | None = None,
    ) -> None:
        super().__init__()
        composer.build(backbone.embed_dim)
        self.backbone, self.composer = backbone, composer
        self.projection = projection if projection is not None else Identity()
        self.head = head
        self.router: Router | None = None
        self.cache: FeatureSource | None = None
        self.precision: torch.dtype | None = None
        self._tokens = "tokens" in composer.needs

    def forward(self, batch: Batch) -> Outputs:
        """Embed a batch for training: queries and all candidates, in one pass of each tower.

        An item of a batch is a picture, a text or both: a picture is embedded by the image tower, a text by
        the text tower, both by the composer. Of triplets that is the composed query and the pictures of the
        candidates.
        """
        count = len(batch)
        pictures = self.image_features(batch.pictures, tokens=self._tokens) if len(batch.pictures) else None
        texts = self.text_features(batch.texts, tokens=self._tokens) if len(batch.texts) else None
        shown, said = batch.picture_rows, batch.text_rows
        query, candidates = (
            self._finish(embed_items(pictures, texts, shown[side], said[side], self.composer))
            for side in (slice(count), slice(count, len(shown)))
        )
        return Outputs(query, candidates, self.backbone.logit_scale.exp())

    def image_features(self, images: Images | Tensor, *, tokens: bool = False) -> ImageFeatures:
        """The backbone's features of pictures, as they are or (B, 3, S, S); kept where they are frozen."""
        images = images if isinstance(images, Images) else Images.of(images)
        with self._cast():
            if self.cache is not None:
                found = self.cache.image(images, tokens=tokens)
            else:
                found = self.backbone.image(images.pixels.to(self._device), tokens=tokens)
        found.pooled = found.pooled.float()
        found.tokens = found.tokens.float() if found.tokens is not None else None
        return found

    def text_features(self, texts: Texts | Tensor, *, tokens: bool = False) -> TextFeatures:
        """The backbone's features of texts, or of their ids (B, L); kept where they are frozen."""
        with self._cast():
            texts = texts if isinstance(texts, Texts) else Texts(texts)
            if self.cache is not None:
                found = self.cache.text(texts, tokens=tokens)
            else:
                known = None if tokens or self.backbone.text_layers is None else max(texts.lengths)
                found = self.backbone.text(texts.ids.to(self._device), tokens=tokens, length=known)
        found.pooled = found.pooled.float()
        found.tokens = found.tokens.float() if found.tokens is not None else None
        return found

    def prepare(self, images: Images | Tensor, texts: Texts | Tensor) -> None:
        """Compute, all at once, the frozen features of inputs that will be used in any order."""
        if self.router is not None and not self.training:
            self.router.activate(None)  # the router looks at everything through the bare base
        if self.cache is not None:
            images = images if isinstance(images, Images) else Images.of(images)
            texts = texts if isinstance(texts, Texts) else Texts(texts)
            with self._cast():
                self.cache.prepare(images, texts, self._tokens, again=self.training)

    @property
    def reads_pixels(self) -> bool:
        """Whether a training step needs pixels now, because no kept features replace them."""
        return self.cache is None or self.cache.live_images(self._tokens)

    def encode_images(self, images: Images | Tensor) -> Tensor:
        """Gallery embeddings (B, D), unit rows, of pictures, as they are or (B, 3, S, S)."""
        images = images if isinstance(images, Images) else Images.of(images)
        return self._routed(images, lambda _, part: self._finish(self.image_features(part).pooled))

    def raw_images(self, images: Images | Tensor) -> Tensor:
        """What the image tower gives (B, D), before head and normalisation."""
        images = images if isinstance(images, Images) else Images.of(images)
        return self._routed(images, lambda _, part: self.image_features(part).pooled)

    def raw_texts(self, texts: Texts | Tensor) -> Tensor:
        """What the text tower gives (B, D), before head and normalisation; routed as `encode_texts`."""
        if self.router is not None and not self.training:
            self.router.activate(None)
        return self.text_features(texts).pooled

    def encode_items(self, pictures: Column[Images], texts: Column[Texts]) -> Tensor:
        """Gallery embeddings (N, D), unit rows, of items of any kind, as `item_columns` lays them out."""
        shown, said = pictures.rows, texts.rows
        seen = [place for place, row in enumerate(shown) if row >= 0]
        read = [place for place, row in enumerate(shown) if row < 0]
        made: list[Tensor] = []
        if seen:

            def encode(rows: Sequence[int], part: Images) -> Tensor:
                own = texts.part([seen[i] for i in rows])
                words = self.text_features(own.value, tokens=self._tokens) if len(own.value) else None
                found = self.image_features(part, tokens=self._tokens and words is not None)
                return self._finish(embed_items(found, words, range(len(part)), own.rows, self.composer))

            made.append(self._routed(pictures.value.part([shown[place] for place in seen]), encode))
        if read:
            made.append(self.encode_texts(texts.value.part([said[place] for place in read])))
        return in_order(made, seen + read)

    def encode_texts(self, texts: Texts | Tensor) -> Tensor:
        """Embeddings (B, D), unit rows, of texts or their ids (B, L), to retrieve and classify by text.

        A text alone says nothing about its domain: with a router it goes through the bare base, in training
        through the active adapter, as all else does.
        """
        if self.router is not None and not self.training:
            self.router.activate(None)
        return self._finish(self.text_features(texts).pooled)

    def encode_queries(self, images: Images | Tensor, texts: Texts | Tensor) -> Tensor:
        """Query embeddings (B, D), unit rows, in the gallery's space."""
        return self.encode_queries_by([self.composer], images, texts)[0]

    def encode_queries_by(
        self, composers: Sequence[Composer], images: Images | Tensor, texts: Texts | Tensor
    ) -> Tensor:
        """Query embeddings (N, B, D) of several composers from one pass of the towers.

        The blind baselines (picture only, text only) stand beside every result this way.
        """
        tokens = any("tokens" in composer.needs for composer in composers)
        images = images if isinstance(images, Images) else Images.of(images)
        texts = texts if isinstance(texts, Texts) else Texts(texts)

        def encode(rows: Sequence[int], part: Images) -> Tensor:
            picture = self.image_features(part, tokens=tokens)
            text = self.text_features(texts.part(rows), tokens=tokens)
            return torch.stack([self._finish(composer(picture, text)) for composer in composers], dim=1)

        return self._routed(images, encode).transpose(0, 1)

    def _finish(self, embedding: Tensor) -> Tensor:
        return F.normalize(self.head(embedding) if self.head is not None else embedding, dim=-1)

    @property
    def _device(self) -> torch.device:
        return self.backbone.logit_scale.device

    def _cast(self) -> torch.autocast:
        kind, dtype = self._device.type, self.precision
        return torch.autocast(kind, dtype or torch.get_autocast_dtype(kind), enabled=dtype is not None)

    def _routed(self, images: Images, encode: Callable[[Sequence[int], Images], Tensor]) -> Tensor:
        """Encode all pictures, each with the adapter that the router chooses for it."""
        if self.router is None or self.training:
            return encode(range(len(images)), images)
        self.router.activate(None)
        choice = self.router(self.image_features(images).pooled).tolist()
        parts, order = [], []
        for expert in sorted(set(choice)):
            self.router.activate(self.router.names[expert] if expert >= 0 else None)
            rows = [i for i, chosen in enumerate(choice) if chosen == expert]
            parts.append(encode(rows, images.part(rows)))
            order += rows
        return torch.cat(parts)[torch.tensor(order).argsort()]
