"""The composed retriever: pictures to gallery embeddings, picture + text to query embeddings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clplat.data.records import Batch
from clplat.models.backbone import Backbone
from clplat.models.composers.base import Composer
from clplat.models.projections.base import Projection
from clplat.models.projections.identity import Identity
from clplat.models.routing import Router

__all__ = ["ComposedRetriever", "Outputs"]


@dataclass
class Outputs:
    """What losses see: unit rows ``query`` (B, D) and ``candidates`` (C, D), and ``scale`` ()."""

    query: Tensor
    candidates: Tensor
    scale: Tensor


class ComposedRetriever(nn.Module):
    """CLIP backbone + composer (+ projection to older versions, + head for what is stored, + router).

    Args:
        backbone: the towers, with adapters and prompts inside.
        composer: features of reference and text -> query.
        projection: maps this version's embeddings into an older version's space; fitted after training.
        head: turns embeddings into what is stored; applied to queries and gallery alike.

    ``router`` is set by strategies that keep one adapter per domain; a forward pass in training mode uses the
    active adapter, embeddings in evaluation mode go through the router.
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
        self._tokens = "tokens" in composer.needs

    def forward(self, batch: Batch) -> Outputs:
        """Embed a batch for training: queries and all candidates, in one pass of the image tower."""
        count = len(batch.reference)
        pictures = self.backbone.image(torch.cat([batch.reference, batch.candidates]), tokens=self._tokens)
        reference, candidates = pictures.pooled[:count], pictures.pooled[count:]
        pictures.pooled = reference
        if pictures.tokens is not None:
            pictures.tokens = pictures.tokens[:count]
        text = self.backbone.text(batch.tokens, tokens=self._tokens)
        query = self._finish(self.composer(pictures, text))
        return Outputs(query, self._finish(candidates), self.backbone.logit_scale.exp())

    def encode_images(self, pixels: Tensor) -> Tensor:
        """Gallery embeddings (B, D), unit rows, of pictures (B, 3, S, S)."""
        return self._routed(pixels, lambda rows: self._finish(self.backbone.image(pixels[rows]).pooled))

    def encode_texts(self, input_ids: Tensor) -> Tensor:
        """Embeddings (B, D), unit rows, of texts (B, L), for retrieval and classification by text.

        A text alone says nothing about its domain: with a router it goes through the bare base.
        """
        if self.router is not None:
            self.router.activate(None)
        return self._finish(self.backbone.text(input_ids).pooled)

    def encode_queries(self, pixels: Tensor, input_ids: Tensor) -> Tensor:
        """Query embeddings (B, D), unit rows, in the gallery's space."""
        return self.encode_queries_by([self.composer], pixels, input_ids)[0]

    def encode_queries_by(self, composers: Sequence[Composer], pixels: Tensor, input_ids: Tensor) -> Tensor:
        """Query embeddings (N, B, D) of several composers from one pass of the towers.

        The blind baselines (picture only, text only) stand beside every result this way.
        """
        tokens = any("tokens" in composer.needs for composer in composers)

        def encode(rows: Tensor) -> Tensor:
            picture = self.backbone.image(pixels[rows], tokens=tokens)
            text = self.backbone.text(input_ids[rows], tokens=tokens)
            return torch.stack([self._finish(composer(picture, text)) for composer in composers], dim=1)

        return self._routed(pixels, encode).transpose(0, 1)

    def _finish(self, embedding: Tensor) -> Tensor:
        return F.normalize(self.head(embedding) if self.head is not None else embedding, dim=-1)

    def _routed(self, pixels: Tensor, encode: Callable[[Tensor], Tensor]) -> Tensor:
        """Encode all rows, each with the adapter that the router chooses for its picture."""
        everything = torch.arange(len(pixels), device=pixels.device)
        if self.router is None or self.training:
            return encode(everything)
        self.router.activate(None)
        choice = self.router(self.backbone.image(pixels).pooled)
        experts = choice.unique().tolist()
        parts: list[Tensor] = []
        for expert in experts:
            self.router.activate(self.router.names[expert] if expert >= 0 else None)
            parts.append(encode(everything[choice == expert]))
        order = torch.cat([everything[choice == expert] for expert in experts])
        return torch.cat(parts)[order.argsort()]
