"""The composed retriever: pictures to gallery embeddings, picture + text to query embeddings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clplat.data.batch import Batch
from clplat.data.inputs import Images, Texts
from clplat.mechanisms.routing import Router
from clplat.models.backbone import Backbone
from clplat.models.features import (
    POOLED,
    ImageFeatures,
    TextFeatures,
    Wants,
    checked_wants,
    in_float,
)
from clplat.models.outputs import Outputs
from clplat.models.readout import readout_of
from clplat.models.view import Towers
from clplat.parts.composers._base import Composer
from clplat.parts.projections._base import Projection
from clplat.parts.projections.identity import Identity

__all__ = ["ComposedRetriever", "FeatureSource"]


class FeatureSource(Protocol):
    """Answers in place of the backbone's towers; `clplat.cache.engine.FeatureCache` is one."""

    def image(self, images: Images, wants: Wants = POOLED) -> ImageFeatures: ...

    def text(
        self, texts: Texts, wants: Wants = POOLED, *, other: ImageFeatures | None = None
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
        self.towers = Towers(backbone, self._cast)
        self.image_wants, self.text_wants = (checked_wants(composer.wants.get(side, ())) for side in ("image", "text"))
        self.target_wants = checked_wants(composer.target_wants)
        composer.attach(self.towers)
        self.backbone, self.composer = backbone, composer
        self.projection = projection if projection is not None else Identity()
        self.head = head
        self.router: Router | None = None
        self.cache: FeatureSource | None = None
        self.precision: torch.dtype | None = None

    def forward(self, batch: Batch) -> Outputs:
        """Embed a batch for training: queries and all candidates.

        Both go through the image tower in one pass where the same is wanted of both. In training the outputs
        hold the objectives of the model's own parts (`Outputs.terms`).
        """
        count = len(batch)
        pictures = self._sides(batch.pictures, count)
        text = self.text_features(batch.texts, self.text_wants, other=self._given(pictures[0]))
        query = self._finish(self.composer(pictures[0], text))
        candidates = self._finish(self.composer.target(pictures[1]))
        outputs = Outputs(query, candidates, self.backbone.logit_scale.exp())
        if self.training:
            outputs.terms = self._terms(batch, outputs)
        return outputs

    def _sides(self, images: Images, count: int) -> list[ImageFeatures]:
        """Features of the first ``count`` pictures, as the composer wants them, and of the others."""
        parts = [range(count), range(count, len(images))]
        if self.image_wants == self.target_wants:
            found = self.image_features(images, self.image_wants)
            return [found.part(rows) for rows in parts]
        wants = (self.image_wants, self.target_wants)
        return [self.image_features(images.part(rows), w) for rows, w in zip(parts, wants, strict=True)]

    def _given(self, pictures: ImageFeatures) -> ImageFeatures | None:
        """What the text tower's prompt reads of the picture that a text modifies."""
        prompt = self.backbone.text_prompt
        return pictures if prompt is not None and prompt.reads_other else None

    def _terms(self, batch: Batch, outputs: Outputs) -> dict[str, Tensor]:
        backbone = self.backbone
        readouts = [readout_of(backbone, "image"), readout_of(backbone, "text")]
        parts = [self.composer, backbone.adapters, backbone.image_prompt, backbone.text_prompt, *readouts]
        terms: dict[str, Tensor] = {}
        for part in parts:
            for name, value in part.terms(batch, outputs).items() if part is not None else ():
                terms[name] = terms[name] + value if name in terms else value
        return terms

    def image_features(self, images: Images | Tensor, wants: Wants = POOLED) -> ImageFeatures:
        """The backbone's features of pictures, as they are or (B, 3, S, S); kept where they are frozen."""
        images = images if isinstance(images, Images) else Images.of(images)
        with self._cast():
            if self.cache is not None:
                return in_float(self.cache.image(images, wants))
            if not wants:
                return ImageFeatures(keys=images.names)
            found = self.backbone.image(images.pixels.to(self._device), wants)
        found.keys = images.names
        return in_float(found)

    def text_features(
        self, texts: Texts | Tensor, wants: Wants = POOLED, *, other: ImageFeatures | None = None
    ) -> TextFeatures:
        """The backbone's features of texts, or of their ids (B, L); kept where they are frozen.

        Args:
            other: features of the picture that each text modifies, for a prompt that reads them.
        """
        texts = texts if isinstance(texts, Texts) else Texts(texts)
        with self._cast():
            if self.cache is not None:
                return in_float(self.cache.text(texts, wants, other=other))
            whole = "tokens" in wants or self.backbone.text_layers is None
            length = None if whole else max(texts.lengths)
            found = self.backbone.text(texts.ids.to(self._device), wants, other=other, length=length)
        found.texts = texts.names
        return in_float(found)

    def prepare(self, images: Images | Tensor, texts: Texts | Tensor) -> None:
        """Compute, all at once, the frozen features of inputs that will be used in any order."""
        if self.router is not None and not self.training:
            self.router.activate(None)  # the router looks at everything through the bare base
        if self.cache is not None:
            images = images if isinstance(images, Images) else Images.of(images)
            texts = texts if isinstance(texts, Texts) else Texts(texts)
            with self._cast():
                shown = self.image_wants | self.target_wants
                self.cache.prepare(images, texts, shown, self.text_wants, again=self.training)

    @property
    def reads_pixels(self) -> bool:
        """Whether a training step needs pixels now, because no kept features replace them."""
        asked = {self.image_wants, self.target_wants}
        return self.cache is None or any(self.cache.live_images(wants) for wants in asked)

    def encode_images(self, images: Images | Tensor) -> Tensor:
        """Gallery embeddings (B, D), unit rows, of pictures, as they are or (B, 3, S, S)."""
        images = images if isinstance(images, Images) else Images.of(images)

        def encode(_: Sequence[int], part: Images) -> Tensor:
            return self._finish(self.composer.target(self.image_features(part, self.target_wants)))

        return self._routed(images, encode)

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
        shown, said = (
            frozenset[str]().union(*(composer.wants.get(side, ()) for composer in composers))
            for side in ("image", "text")
        )
        images = images if isinstance(images, Images) else Images.of(images)
        texts = texts if isinstance(texts, Texts) else Texts(texts)

        def encode(rows: Sequence[int], part: Images) -> Tensor:
            picture = self.image_features(part, shown)
            text = self.text_features(texts.part(rows), said, other=self._given(picture))
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
