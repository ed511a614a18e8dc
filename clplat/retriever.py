"""The composed retriever: pictures to gallery embeddings, picture + text to query embeddings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from clplat.data.batch import Batch
from clplat.data.columns import Column
from clplat.data.inputs import Images, Texts
from clplat.models.backbone import Backbone
from clplat.models.features import ImageFeatures, TextFeatures
from clplat.models.items import embed_items, in_order, tokens_of, triplets_of, wanted_of
from clplat.models.outputs import Outputs, Rows, dot
from clplat.models.readout import readout_of
from clplat.models.stages import Tower
from clplat.parts.composers._base import Composer
from clplat.parts.heads._base import Head, Side, View
from clplat.parts.projections._base import Projection
from clplat.parts.projections.identity import Identity
from clplat.parts.scorers._base import Scorer
from clplat.parts.scorers._fit import note_wants, refuse_misfits
from clplat.parts.scorers.dot import Dot
from clplat.routed_towers import RoutedTowers

__all__ = ["ComposedRetriever"]


class ComposedRetriever(RoutedTowers):
    """CLIP backbone + composer (+ head, + projection to older versions, + scorer, + experts).

    The order is: towers -> composer, or its target side -> head -> projection -> view -> scorer.

    Args:
        backbone: the towers, with adapters and prompts inside.
        composer: features of reference and text -> query.
        projection: maps this version's embeddings into an older version's space; fitted after training.
        head: turns embeddings into what is stored and compared; by default unit rows.
        scorer: compares a query with an item; by default by the dot product.

    ``experts`` is set by strategies that keep an adapter for each domain; a forward pass in training mode
    uses the active one, embeddings in evaluation mode go through their router. ``cache`` keeps what is
    frozen; without it everything is computed by the towers. ``precision`` is what the towers compute in
    (autocast); embeddings are float32 whatever it is. ``headless`` leaves out a head that starts random.

    Raises:
        UserError: parts that do not fit together.
    """

    alone_wants: frozenset[str]
    said_wants: frozenset[str]

    def __init__(
        self,
        backbone: Backbone,
        composer: Composer,
        projection: Projection | None = None,
        head: Head | None = None,
        scorer: Scorer | None = None,
    ) -> None:
        super().__init__(backbone)
        scorer = scorer if scorer is not None else Dot()
        composed = note_wants(self, composer, scorer)
        composer.attach(self.towers)
        scorer.attach(self.towers)
        self.width = head.attach(self.towers) if head is not None else backbone.embed_dim
        self.composer = composer
        self.projection = projection if projection is not None else Identity()
        self.head, self.scorer, self.headless = head, scorer, False
        others = {"head": head, "projection": None if isinstance(projection, Identity) else projection}
        refuse_misfits(scorer, composer, composed, others)

    def forward(self, batch: Batch) -> Outputs:
        """Embed a batch for training: queries and all candidates, in one pass of each tower.

        An item of a batch is a picture, a text or both: a picture is embedded by the image tower, a text by
        the text tower, both by the composer. Of triplets that is the composed query and the pictures of the
        candidates, in two passes where other features of them are wanted. The outputs are as the head's first
        view compares them, with all `Outputs.views` of the loss and, in training, the model's own `terms`.
        """
        count = len(batch)
        if self.training:
            self.backbone.adapters.begin()
        shown, said = batch.picture_rows, batch.text_rows
        (asked, own), (held, others) = self._sides(batch.pictures, shown, said, count)
        texts, say = self._texts(batch, asked), self.scorer.text
        query = embed_items(asked, texts, own, said[:count], self._compose, self._alone, say)
        candidates = embed_items(held, texts, others, said[count:], self._compose, self._target, say)
        rows = self._finish(query, "query"), self._finish(candidates, "gallery")
        score = dot if isinstance(self.scorer, Dot) else self.scorer.block
        outputs = Outputs.of_views(*rows, self.towers.scale, self.views, score)
        # As composed and not yet normalised; flat rows of several vectors have no such form.
        parts = {"raw_query": Rows(query), "raw_candidates": Rows(candidates, "candidate")}
        if self.training and "candidate_tokens" in self.asked and held is not None:
            parts["candidate_tokens"] = Rows(tokens_of(held, others), "candidate")
        outputs.parts = parts
        if self.training:
            outputs.triplets = triplets_of((asked, own), (texts, said), (held, others), self.learns_from)
            outputs.terms = self._terms(batch, outputs)
        return outputs

    @property
    def views(self) -> Mapping[str, View]:
        """Name -> how the rows of the head are stored and compared; the first is the main one."""
        own = self.head.views() if self.head is not None else {}
        if self._left_out:
            return dict.fromkeys(own or ("full",), View())
        return own or {"full": View()}

    @property
    def _left_out(self) -> bool:
        return self.headless and self.head is not None and self.head.starts_random

    @contextmanager
    def as_version(self, version: int) -> Iterator[None]:
        """Inside, the model is as it is measured after so many experiences."""
        before, self.headless = self.headless, version == 0
        try:
            yield
        finally:
            self.headless = before

    def _compose(self, image: ImageFeatures, text: TextFeatures) -> Tensor:
        return self.scorer.query(image, text, self.composer)

    def _target(self, image: ImageFeatures) -> Tensor:
        return self.scorer.item(image, self.composer.target)

    def _alone(self, image: ImageFeatures) -> Tensor:
        """A query of a picture alone."""
        return self.scorer.item(image, lambda found: found.pooled)

    def _sides(
        self, images: Images, shown: Sequence[int], said: Sequence[int], count: int
    ) -> list[tuple[ImageFeatures | None, Sequence[int]]]:
        """Features of the queries' pictures and of the candidates', and the row in them of each item."""
        sides = [
            (shown[:count], said[:count], self.alone_wants),
            (shown[count:], said[count:], self.wants_of("answer", self.training)),
        ]
        wants = [wanted_of(*side, both=self.wants_of("image", self.training)) for side in sides]
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
        both = self.wants_of("text", self.training)
        wants = wanted_of(batch.text_rows, batch.picture_rows, self.said_wants, both=both)
        given = self._given(batch.pictures, pictures, len(batch)) if pictures and batch.composed else None
        return self.text_features(batch.texts, wants, other=given)

    def _terms(self, batch: Batch, outputs: Outputs) -> dict[str, Tensor]:
        backbone = self.backbone
        readouts = [readout_of(backbone, "image"), readout_of(backbone, "text")]
        prompts = [backbone.image_prompt, backbone.text_prompt]
        parts = [self.composer, self.head, self.scorer, backbone.adapters, *prompts, *readouts]
        terms: dict[str, Tensor] = {}
        for part in parts:
            for name, value in part.terms(batch, outputs).items() if part is not None else ():
                terms[name] = terms[name] + value if name in terms else value
        return terms

    def encode_images(self, images: Images | Tensor) -> Tensor:
        """Gallery embeddings (B, D), unit rows, of pictures, as they are or (B, 3, S, S)."""
        images = images if isinstance(images, Images) else Images.of(images)
        wants, finish = self.target_wants, partial(self._finish, side="gallery")
        return self._routed(images, lambda _, part: self._target(self.image_features(part, wants)), finish)

    def encode_items(self, pictures: Column[Images], texts: Column[Texts]) -> Tensor:
        """Gallery embeddings (N, D), unit rows, of items of any kind, as `item_columns` lays them out."""
        shown, said = pictures.rows, texts.rows
        seen = [place for place, row in enumerate(shown) if row >= 0]
        read = [place for place, row in enumerate(shown) if row < 0]
        made: list[Tensor] = []
        if seen:

            def encode(rows: Sequence[int], part: Images) -> Tensor:
                own = texts.part([seen[i] for i in rows])
                words = self.text_features(own.value, self.text_wants) if len(own.value) else None
                wants = wanted_of(range(len(part)), own.rows, self.target_wants, both=self.image_wants)
                found = self.image_features(part, wants)
                return embed_items(found, words, range(len(part)), own.rows, self._compose, self._target)

            images = pictures.value.part([shown[place] for place in seen])
            made.append(self._routed(images, encode, partial(self._finish, side="gallery")))
        if read:
            made.append(self.encode_texts(texts.value.part([said[place] for place in read])))
        return in_order(made, seen + read)

    def encode_texts(self, texts: Texts | Tensor) -> Tensor:
        """Embeddings (B, D), unit rows, of texts or their ids (B, L), to retrieve and classify by text.

        A text alone says nothing about its domain: with experts it goes through the bare base, or all experts
        where they go by words; in training through the active adapter, as all else does.
        """
        return self._routed_texts(
            lambda: self._finish(self.scorer.text(self.text_features(texts, self.said_wants)), "gallery")
        )

    def encode_queries(self, images: Images | Tensor, texts: Texts | Tensor) -> Tensor:
        """Query embeddings (B, D), unit rows, in the gallery's space."""
        return self.encode_queries_by([self.composer], images, texts)[0]

    def encode_queries_by(
        self, composers: Sequence[Composer], images: Images | Tensor, texts: Texts | Tensor
    ) -> Tensor:
        """Query embeddings (N, B, D) of several composers from one pass of the towers.

        The blind baselines (picture only, text only) stand beside every result this way.
        """
        halves = [self._half(composer) for composer in composers]
        alone = {"image": self.alone_wants, "text": self.said_wants}
        read = [self.scorer.wants, *(composer.wants for composer in composers)]
        read += [{half: alone[half]} for half in halves if half]
        shown, said = (
            frozenset[str]().union(*(wants.get(side, ()) for wants in read)) for side in ("image", "text")
        )
        images = images if isinstance(images, Images) else Images.of(images)
        texts = texts if isinstance(texts, Texts) else Texts(texts)

        def encode(rows: Sequence[int], part: Images) -> Tensor:
            picture = self.image_features(part, shown)
            text = self.text_features(texts.part(rows), said, other=self._given(part, picture, len(part)))
            half_of = {"image": lambda: self._alone(picture), "text": lambda: self.scorer.text(text)}
            made = [
                half_of[half]() if half else self.scorer.query(picture, text, composer)
                for composer, half in zip(composers, halves, strict=True)
            ]
            return torch.stack(made, dim=1)

        def finish(made: Tensor) -> Tensor:
            return torch.stack([self._finish(rows.contiguous(), "query") for rows in made.unbind(1)])

        return self._routed(images, encode, finish, texts)

    def _half(self, composer: Composer) -> Tower | None:
        """The half of a query that a blind baseline sees, where the scorer would read the other by itself."""
        if composer is self.composer:
            return None
        if composer.blind and self.scorer.wants["text"]:
            return "image"
        return "text" if self.scorer.wants["image"] and not composer.wants.get("image") else None

    def _finish(self, embedding: Tensor, side: Side) -> Tensor:
        if self.head is not None and not self._left_out:
            rows: Tensor = self.head(embedding, side)
            return rows
        return F.normalize(embedding, dim=-1) if self.scorer.single else embedding
