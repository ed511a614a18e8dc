"""Features of a retriever's towers: from the store as far as they are frozen, computed above that."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from clplat.cache.counts import Counts
from clplat.cache.cuts import Cut, TowerCuts
from clplat.cache.filling import Filler, Items
from clplat.cache.grouping import by_length, distinct, worthwhile
from clplat.cache.keys import Setting, chunk_of, table_key
from clplat.cache.store import Store, Table
from clplat.data.inputs import Images, Texts
from clplat.models.backbone import Backbone
from clplat.models.features import ImageFeatures, TextFeatures

__all__ = ["FeatureCache"]

#: A text is computed up to the next multiple of this many tokens.
BUCKET = 4
#: A group of texts goes through the tower apart from longer ones if that saves this many operations.
LEAST_FLOPS = 5e8


class FeatureCache:
    """Features of pictures and texts; what is frozen is computed once, ever, by any process of this machine.

    As ``retriever.cache`` it changes no result beyond the rounding of another order of summation. Rows are
    kept as the towers give them, never normalised.

    Args:
        backbone: the towers; on its device already.
        store: where rows are kept.
        dtype: of rows at rest; ``torch.float16`` halves the size, at a relative error of 5e-4.

    Example:
        >>> from clplat.testing.tiny import tiny_backbone
        >>> backbone = tiny_backbone()
        >>> features = FeatureCache(backbone, Store(None))
        >>> for epoch in range(3):
        ...     found = features.text(Texts(backbone.tokenize(["longer", "in green"])))
        >>> features.counts["text"].asked, features.counts["text"].encoded
        (6, 2)
    """

    def __init__(self, backbone: Backbone, store: Store, dtype: torch.dtype = torch.float32) -> None:
        self.backbone, self.store, self.dtype = backbone, store, dtype
        self.counts = {"image": Counts(), "text": Counts()}
        self._filler, self._chunk = Filler(dtype), chunk_of(backbone)
        self._image_cuts, self._text_cuts = TowerCuts(backbone, "image"), TowerCuts(backbone, "text")
        self._tables: dict[Any, Table] = {}
        self._announced: dict[str, list[tuple[frozenset[str], Any]]] = {"image": [], "text": []}
        self._prefetched: set[Cut] = set()
        self._written_before = store.bytes_written

    def __deepcopy__(self, memo: Any) -> None:
        """The copy of a retriever has no cache: this one belongs to one backbone."""

    @contextmanager
    def counting(self) -> Iterator[Callable[[], int]]:
        """Inside, the yielded function returns the floating-point operations spent on rows that are kept.

        They belong to no training step: the next one finds the rows.
        """
        self._filler.counting, self._filler.flops = True, 0
        try:
            yield lambda: self._filler.flops
        finally:
            self._filler.counting = False

    def refresh(self) -> None:
        """The model may have been changed in any way: look at all of it again."""
        self.backbone.hashes.age()
        self._image_cuts.refresh()
        self._text_cuts.refresh()
        self._tables.clear()
        self._announced = {"image": [], "text": []}
        self._prefetched.clear()

    def live_images(self, tokens: bool = False) -> bool:
        """Whether pictures go through the whole tower now, so that their pixels will be needed."""
        return self._image_cuts.cut(tokens) is None

    def prepare(self, images: Images, texts: Texts, tokens: bool = False, again: bool = False) -> None:
        """Make all rows that will be needed, ahead of their use.

        Args:
            images: as in `image`; each may stand here several times.
            texts: as in `text`.
            tokens: the rows will be needed with tokens.
            again: the rows will be needed until `refresh`, perhaps of another state of the model as well: the
                first request for some of them, as in a teacher's first step, then makes them all.
        """
        if again:
            self._announced["image"].append((frozenset(images.names), images))
            self._announced["text"].append((frozenset(texts.names), texts))
        cut = self._image_cuts.cut(tokens)
        if cut is not None and images.kind:
            self._images(cut, images)
        cut = self._text_cuts.cut(tokens)
        if cut is not None:
            self._texts(cut, texts)
        self.store.flush()

    def image(self, images: Images, *, tokens: bool = False) -> ImageFeatures:
        """Features of pictures, as `Backbone.image` gives them."""
        counts = self.counts["image"]
        counts.asked += len(images)
        cut = self._image_cuts.cut(tokens) if images.kind else None
        counts.saw(cut, self._image_cuts.unseen)
        if cut is None:
            counts.live += len(images)
            return self.backbone.image(images.pixels.to(self._device), tokens=tokens)
        self._prefetch("image", cut, images.names, self._images)
        table = self._images(cut, images)
        counts.used(table.digest, images.names)
        x = self._moved(table.rows(images.names))
        if cut.pooled:
            return ImageFeatures(x)
        return self.backbone.image(x, tokens=tokens, done=cut.blocks)

    def text(self, texts: Texts, *, tokens: bool = False) -> TextFeatures:
        """Features of texts, as `Backbone.text` gives them."""
        counts = self.counts["text"]
        counts.asked += len(texts)
        cut = self._text_cuts.cut(tokens)
        counts.saw(cut, self._text_cuts.unseen)
        ids = texts.ids.to(self._device, non_blocking=True)
        if cut is None:
            return self._live_texts(texts, ids, tokens)
        self._prefetch("text", cut, texts.names, self._texts)
        tables = self._texts(cut, texts)
        for rows, table in tables:
            counts.used(table.digest, [texts.names[i] for i in rows])
        if cut.pooled:
            return TextFeatures(self._moved(tables[0][1].rows(texts.names)), input_ids=ids)
        length = max(table.key["shape"][0] for _, table in tables)
        x = self.backbone.logit_scale.new_zeros(len(texts), length, self.backbone.text_width)
        for rows, table in tables:
            found = self._moved(table.rows([texts.names[i] for i in rows]))
            x[rows, : found.shape[1]] = found
        features = self.backbone.text_from_embeddings(
            x, self.backbone.text_ends(ids), tokens=tokens, length=None if tokens else length, done=cut.blocks
        )
        features.input_ids = ids
        return features

    def report(self) -> dict[str, Any]:
        """What was reused so far, as plain data."""
        return {
            **{tower: counts.report() for tower, counts in self.counts.items()},
            "bytes_written": self.store.bytes_written - self._written_before,
        }

    def _prefetch(
        self, tower: str, cut: Cut, names: Sequence[str], fill: Callable[[Cut, Any], object]
    ) -> None:
        """Make at a new cut all other rows that will be needed there: many at once cost least."""
        announced = self._announced[tower]
        if cut in self._prefetched or all(known.isdisjoint(names) for known, _ in announced):
            return
        self._prefetched.add(cut)
        for _, items in announced:
            fill(cut, items)

    def _images(self, cut: Cut, images: Images) -> Table:
        """The table that holds these pictures at this cut, filled."""
        visual = self.backbone.model.visual
        shape = [self.backbone.embed_dim] if cut.pooled else list(visual.positional_embedding.shape)
        # Where the tower is trained, a picture comes back for every version of it: keep its pixels.
        again = any(parameter.requires_grad for parameter in visual.parameters())

        def load(rows: Sequence[int]) -> Tensor:
            return images.at(rows, again).to(self._device, non_blocking=True)

        def encode(pixels: Tensor, _: int) -> Tensor:
            if cut.pooled:
                return self.backbone.image(pixels).pooled
            return self.backbone.image_bottom(pixels, cut.blocks)

        table = self._table("image", cut, shape, images.kind)
        items = Items(images.names, load, encode, {0: range(len(images))}, {0: self._chunk})
        self._filler.fill(table, self.counts["image"], items)
        return table

    def _texts(self, cut: Cut, texts: Texts) -> list[tuple[Sequence[int], Table]]:
        """The tables that hold these texts at this cut, filled, each with the texts' positions."""
        groups = by_length(texts.lengths, BUCKET, texts.ids.shape[1])
        # About as many tokens per pass as pictures have patches.
        most = 64 if self._device.type == "cpu" else 1024
        chunks = {length: min(most, max(16, 32 * self._chunk // length)) for length in groups}

        def load(rows: Sequence[int]) -> Tensor:
            return texts.ids[list(rows)].to(self._device, non_blocking=True)

        def encode(ids: Tensor, length: int) -> Tensor:
            if not cut.pooled:
                return self.backbone.text_bottom(ids, cut.blocks, length)
            return self.backbone.text(ids, length=length if self.backbone.text_layers else None).pooled

        kind = f"context {self.backbone.context_length}, up to a multiple of {BUCKET}"
        if cut.pooled:
            table = self._table("text", cut, [self.backbone.embed_dim], kind)
            self._filler.fill(table, self.counts["text"], Items(texts.names, load, encode, groups, chunks))
            return [(range(len(texts)), table)]
        tables: list[tuple[Sequence[int], Table]] = []
        for length, rows in groups.items():
            table = self._table("text", cut, [length, self.backbone.text_width], kind)
            items = Items(texts.names, load, encode, {length: rows}, chunks)
            self._filler.fill(table, self.counts["text"], items)
            tables.append((rows, table))
        return tables

    def _table(self, what: str, cut: Cut, shape: list[int], kind: str) -> Table:
        """The table of everything that determines these rows."""
        setting = Setting.now(self.backbone)
        here = (what, cut, tuple(shape), kind, setting)
        if here not in self._tables:
            key = table_key(self.backbone, what, cut, kind, setting, self._chunk)
            stored = {"dtype": str(self.dtype).removeprefix("torch."), "shape": shape}
            self._tables[here] = self.store.table(key | stored)
        return self._tables[here]

    def _live_texts(self, texts: Texts, ids: Tensor, tokens: bool) -> TextFeatures:
        """Through the whole tower: equal texts once, short ones apart from long ones where it pays."""
        counts, backbone = self.counts["text"], self.backbone
        if tokens or backbone.text_layers is None or self._text_cuts.is_stochastic_now():
            counts.live += len(texts)
            known = None if tokens or backbone.text_layers is None else max(texts.lengths)
            return backbone.text(ids, tokens=tokens, length=known)
        first, back = distinct(texts.names)
        counts.live += len(first)
        groups = by_length([texts.lengths[i] for i in first], BUCKET, ids.shape[1])
        groups = worthwhile(groups, LEAST_FLOPS / (24 * backbone.text_layers * backbone.text_width**2))
        pooled = [backbone.text(ids[[first[i] for i in rows]], length=n).pooled for n, rows in groups.items()]
        place = {i: at for at, i in enumerate(i for rows in groups.values() for i in rows)}
        order = [place[i] for i in back]
        return TextFeatures(torch.cat(pooled)[order], input_ids=ids)

    @property
    def _device(self) -> torch.device:
        return self.backbone.logit_scale.device

    def _moved(self, rows: Tensor) -> Tensor:
        if self._device.type == "cuda":
            rows = rows.pin_memory()
        return rows.to(self._device, self.backbone.logit_scale.dtype, non_blocking=True)
