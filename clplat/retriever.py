"""The composed retriever: pictures to gallery embeddings, picture + text to query embeddings."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clplat.data.batch import Batch
from clplat.data.columns import Column
from clplat.data.inputs import Images, Texts
from clplat.mechanisms.routing import Router
from clplat.models.backbone import Backbone
from clplat.models.features import POOLED, ImageFeatures, TextFeatures, Wants, checked_wants, in_float
from clplat.models.items import embed_items, in_order, wanted_of
from clplat.models.outputs import Outputs
from clplat.models.readout import readout_of
from clplat.models.source import FeatureSource, LiveTowers
from clplat.models.view import Towers
from clplat.parts.composers._base import Composer
from clplat.parts.projections._base import Projection
from clplat.parts.projections.identity import Identity

__all__ = ["ComposedRetriever"]


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
        self.image_wants = checked_wants(composer.wants.get("image", ()))
        self.text_wants = checked_wants(composer.wants.get("text", ()))
        self.target_wants = checked_wants(composer.target_wants)
        composer.attach(self.towers)
        self.backbone, self.composer = backbone, composer
        self.projection = projection if projection is not None else Identity()
        self.head = head
        self.router: Router | None = None
        self.cache: FeatureSource | None = None
        self.precision: torch.dtype | None = None
        self._live = LiveTowers(backbone)

    def forward(self, batch: Batch) -> Outputs:
        """Embed a batch for training: queries and all candidates, in one pass of each tower.

        An item of a batch is a picture, a text or both: a picture is embedded by the image tower, a text by
        the text tower, both by the composer. Of triplets that is the composed query and the pictures of the
        candidates, which go through two passes where other features of them are wanted. In training the
        outputs hold the objectives of the model's own parts (`Outputs.terms`).
        """
        composer, count = self.composer, len(batch)
        shown, said = batch.picture_rows, batch.text_rows
        (asked, rows), (held, others) = self._sides(batch.pictures, shown, said, count)
        texts = self._texts(batch, asked)
        query = embed_items(asked, texts, rows, said[:count], composer)
        candidates = embed_items(held, texts, others, said[count:], composer, composer.target)
        outputs = Outputs(self._finish(query), self._finish(candidates), self.towers.scale)
        if self.training:
            outputs.terms = self._terms(batch, outputs)
        return outputs

    def _sides(
        self, images: Images, shown: Sequence[int], said: Sequence[int], count: int
    ) -> list[tuple[ImageFeatures | None, Sequence[int]]]:
        """Features of the queries' pictures and of the candidates', and the row in them of each item."""
        sides = [(shown[:count], said[:count], POOLED), (shown[count:], said[count:], self.target_wants)]
        wants = [wanted_of(*side, both=self.image_wants) for side in sides]
        if wants[0] == wants[1]:
            found = self.image_features(images, wants[0]) if len(images) else None
            return [(found, rows) for rows, *_ in sides]
        made: list[tuple[ImageFeatures | None, Sequence[int]]] = []
        for (rows, *_), wanted in zip(sides, wants, strict=True):
            own = [row for row in rows if row >= 0]
            place = {row: i for i, row in enumerate(own)}
            found = self.image_features(images.part(own), wanted) if own else None
            made.append((found, [place.get(row, -1) for row in rows]))
        return made

    def _texts(self, batch: Batch, pictures: ImageFeatures | None) -> TextFeatures | None:
        if not len(batch.texts):
            return None
        wants = wanted_of(batch.text_rows, batch.picture_rows, POOLED, both=self.text_wants)
        given = self._given(pictures.part(range(len(batch)))) if pictures and batch.composed else None
        return self.text_features(batch.texts, wants, other=given)

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
            return in_float((self.cache or self._live).image(images, wants))

    def text_features(
        self, texts: Texts | Tensor, wants: Wants = POOLED, *, other: ImageFeatures | None = None
    ) -> TextFeatures:
        """The backbone's features of texts, or of their ids (B, L); kept where they are frozen.

        Args:
            other: features of the picture that each text modifies, for a prompt that reads them.
        """
        texts = texts if isinstance(texts, Texts) else Texts(texts)
        with self._cast():
            return in_float((self.cache or self._live).text(texts, wants, other=other))

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

    def encode_items(self, pictures: Column[Images], texts: Column[Texts]) -> Tensor:
        """Gallery embeddings (N, D), unit rows, of items of any kind, as `item_columns` lays them out."""
        shown, said = pictures.rows, texts.rows
        seen = [place for place, row in enumerate(shown) if row >= 0]
        read = [place for place, row in enumerate(shown) if row < 0]
        made: list[Tensor] = []
        if seen:

            def encode(rows: Sequence[int], part: Images) -> Tensor:
                own, composer = texts.part([seen[i] for i in rows]), self.composer
                words = self.text_features(own.value, self.text_wants) if len(own.value) else None
                wants = wanted_of(range(len(part)), own.rows, self.target_wants, both=self.image_wants)
                found = self.image_features(part, wants)
                items = embed_items(found, words, range(len(part)), own.rows, composer, composer.target)
                return self._finish(items)

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
