"""Embeds pictures, texts, items and queries with a model, a batch at a time, each as what it holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.functional import normalize

from clplat.data.collate import item_columns
from clplat.data.inputs import Texts
from clplat.data.items import Item, Picture
from clplat.data.queries import Query
from clplat.errors import UserError

__all__ = ["Embedder", "Encoder"]


class Encoder(Protocol):
    """What the evaluator needs of a model; `ComposedRetriever` is one."""

    def prepare(self, images: Any, texts: Any) -> None: ...

    def encode_images(self, images: Any) -> Tensor: ...

    def encode_texts(self, texts: Any) -> Tensor: ...

    def raw_images(self, images: Any) -> Tensor: ...

    def raw_texts(self, texts: Any) -> Tensor: ...

    def encode_items(self, pictures: Any, texts: Any) -> Tensor: ...

    def encode_queries_by(self, composers: Sequence[Any], images: Any, texts: Any) -> Tensor: ...


class Embedder:
    """Embeddings on the CPU in float32, whatever the model computes in.

    Args:
        pictures: pictures -> what the encoder takes: `Images`, or pixels (N, 3, S, S).
        tokenize: texts -> (N, L).
        composers: name -> composer, the retriever's own under ``"own"``; the others are blind baselines.
        batch_size: pictures or queries per forward pass.
    """

    def __init__(
        self,
        pictures: Callable[[Sequence[Picture]], Any],
        tokenize: Callable[[Sequence[str]], Tensor],
        composers: Mapping[str, Any],
        batch_size: int = 256,
    ) -> None:
        self.pictures, self.tokenize = pictures, tokenize
        self.composers, self.batch_size = composers, batch_size

    @torch.inference_mode()
    def images(self, encoder: Encoder, pictures: Sequence[Picture], *, raw: bool = False) -> Tensor:
        """Embeddings (N, D) of pictures; ``raw``: before head and normalisation."""
        encode = encoder.raw_images if raw else encoder.encode_images
        parts = [encode(self.pictures(chunk)) for chunk in self._chunks(pictures)]
        return torch.cat(parts).float().cpu()

    @torch.inference_mode()
    def texts(self, encoder: Encoder, texts: Sequence[str], *, raw: bool = False) -> Tensor:
        """Embeddings (N, D) of texts; ``raw``: before head and normalisation."""
        encode = encoder.raw_texts if raw else encoder.encode_texts
        parts = [encode(self.tokenize(chunk)) for chunk in self._chunks(texts)]
        return torch.cat(parts).float().cpu()

    @torch.inference_mode()
    def items(self, encoder: Encoder, items: Sequence[Item]) -> Tensor:
        """Embeddings (N, D) of the items of a gallery: pictures, texts, or both.

        An item of several texts is the mean of their unit rows.

        Raises:
            UserError: several texts an item where the scorer has several vectors an item.
        """
        if any(item.texts for item in items):
            every = [(i, one) for i, item in enumerate(items) for one in item.single]
            rows = self.items(encoder, [one for _, one in every])
            return _averaged(encoder, rows, [i for i, _ in every], "gallery items")
        shown = [item.picture for item in items if item.picture is not None]
        said = [item.text for item in items if item.text is not None]
        if not said:
            return self.images(encoder, shown)
        if not shown:
            return self.texts(encoder, said)
        parts = [
            encoder.encode_items(*item_columns(chunk, self.pictures, self.tokenize))
            for chunk in self._chunks(items)
        ]
        return torch.cat(parts).float().cpu()

    def queries(self, encoder: Encoder, queries: Sequence[Query]) -> dict[str, Tensor]:
        """Query embeddings (Q, D) by each composer, the mean over the texts of each query.

        A query of a picture alone or of words alone has no composer: the baselines are there where every
        query has both.

        Raises:
            UserError: several texts a query where the scorer has several vectors an item.
        """
        asked = [(i, item) for i, query in enumerate(queries) for item in query.items]
        found = self.asked(encoder, [item for _, item in asked])
        if len(asked) == len(queries):
            return found
        owners = [i for i, _ in asked]
        return {who: _averaged(encoder, rows, owners, "queries") for who, rows in found.items()}

    @torch.inference_mode()
    def asked(self, encoder: Encoder, items: Sequence[Item]) -> dict[str, Tensor]:
        """Embeddings (N, D) of the items of queries by each composer, as `queries`."""
        both = [i for i, item in enumerate(items) if item.picture is not None and item.text is not None]
        if len(both) == len(items):
            return dict(zip(self.composers, self._composed(encoder, items), strict=True))
        kinds = {
            "both": both,
            "picture": [i for i, item in enumerate(items) if item.text is None],
            "text": [i for i, item in enumerate(items) if item.picture is None],
        }
        parts: list[Tensor] = []
        for kind, places in kinds.items():
            own = [items[i] for i in places]
            if own:
                parts.append(
                    self._composed(encoder, own, "own")[0] if kind == "both" else self.items(encoder, own)
                )
        order = torch.tensor([i for places in kinds.values() for i in places])
        return {"own": torch.cat(parts)[order.argsort()]}

    def _composed(self, encoder: Encoder, items: Sequence[Item], *who: str) -> Tensor:
        composers = [self.composers[name] for name in who or self.composers]
        parts = []
        for chunk in self._chunks(items):
            pictures = self.pictures([item.picture for item in chunk if item.picture is not None])
            said = [item.text for item in chunk if item.text is not None]
            texts = Texts(self.tokenize(said), said=said)  # a composer may read the words themselves
            parts.append(encoder.encode_queries_by(composers, pictures, texts))
        return torch.cat(parts, dim=1).float().cpu()

    def _chunks(self, items: Sequence[Any]) -> Iterator[Sequence[Any]]:
        for start in range(0, len(items), self.batch_size):
            yield items[start : start + self.batch_size]


def _averaged(encoder: Encoder, rows: Tensor, owners: Sequence[int], what: str) -> Tensor:
    """The unit mean of the rows (N, D) of each owner, 0, 1, ... in their order."""
    if not getattr(getattr(encoder, "scorer", None), "single", True):
        raise UserError(f"{what} of several texts are averaged: they need one vector each, as --scorer dot")
    mean = rows.new_zeros(owners[-1] + 1, rows.shape[1])
    return normalize(mean.index_add_(0, torch.tensor(owners), rows), dim=1)
