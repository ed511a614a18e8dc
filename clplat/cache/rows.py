"""Rows of the feature store at a cut through a tower: found, or made and kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from clplat.cache.counts import Counts
from clplat.cache.cuts import Cut
from clplat.cache.filling import Filler, Items
from clplat.cache.grouping import by_length
from clplat.cache.keys import Setting, chunk_of, table_key
from clplat.cache.store import Store, Table
from clplat.data.inputs import Images, Texts
from clplat.models.backbone import Backbone
from clplat.models.stages import Tower
from clplat.provenance import library_versions

__all__ = ["BUCKET", "Rows"]

#: A text is computed up to the next multiple of this many tokens.
BUCKET = 4


class Rows:
    """What a tower computes up to a cut, of any pictures or texts, from the tables of a store.

    Args:
        backbone: the towers; on its device already.
        store: where rows are kept.
        dtype: of rows at rest.
    """

    def __init__(self, backbone: Backbone, store: Store, dtype: torch.dtype) -> None:
        self.backbone, self.store, self.dtype = backbone, store, dtype
        self.counts = {"image": Counts(), "text": Counts()}
        self.filler, self._chunk = Filler(dtype), chunk_of(backbone)
        self._tables: dict[Any, Table] = {}

    def refresh(self) -> None:
        """Look every table up again."""
        self._tables.clear()

    def fill(
        self, tower: Tower, cut: Cut, items: Any, bare: bool = False
    ) -> list[tuple[Sequence[int], Table]]:
        """The tables that hold these pictures or texts at this cut, filled, each with their positions."""
        return self._images(cut, items, bare) if tower == "image" else self._texts(cut, items, bare)

    def _images(self, cut: Cut, images: Images, bare: bool) -> list[tuple[Sequence[int], Table]]:
        backbone, visual = self.backbone, self.backbone.model.visual
        # Where the tower is trained, a picture comes back for every version of it: keep its pixels.
        again = any(parameter.requires_grad for parameter in visual.parameters())

        def load(rows: Sequence[int]) -> Tensor:
            return images.at(rows, again).to(self.device, non_blocking=True)

        def encode(pixels: Tensor, _: int) -> Tensor:
            if cut.whole:
                return cut.row(backbone.image(pixels, {str(cut)}, raw=True, bare=bare))
            return backbone.image_bottom(pixels, cut.blocks, bare=bare)

        if cut.whole:
            shape = self._shape(cut, backbone.image_layers, backbone.image_width)
        else:
            shape = list(visual.positional_embedding.shape)
        table = self._table("image", cut, shape, images.kind)
        items = Items(images.names, load, encode, {0: range(len(images))}, {0: self._chunk})
        self.filler.fill(table, self.counts["image"], items)
        return [(range(len(images)), table)]

    def _texts(self, cut: Cut, texts: Texts, bare: bool) -> list[tuple[Sequence[int], Table]]:
        backbone = self.backbone
        groups = by_length(texts.lengths, BUCKET, texts.ids.shape[1])
        # About as many tokens per pass as pictures have patches.
        most = 64 if self.device.type == "cpu" else 1024
        chunks = {length: min(most, max(16, 32 * self._chunk // length)) for length in groups}

        def load(rows: Sequence[int]) -> Tensor:
            return texts.ids[list(rows)].to(self.device, non_blocking=True)

        def encode(ids: Tensor, length: int) -> Tensor:
            if not cut.whole:
                return backbone.text_bottom(ids, cut.blocks, length, bare=bare)
            known = length if backbone.text_layers else None
            return cut.row(backbone.text(ids, {str(cut)}, length=known, raw=True, bare=bare))

        kind = f"context {backbone.context_length}, up to a multiple of {BUCKET}"
        if cut.whole:
            shape = self._shape(cut, backbone.text_layers, backbone.text_width)
            table = self._table("text", cut, shape, kind)
            self.filler.fill(table, self.counts["text"], Items(texts.names, load, encode, groups, chunks))
            return [(range(len(texts)), table)]
        tables: list[tuple[Sequence[int], Table]] = []
        for length, rows in groups.items():
            table = self._table("text", cut, [length, backbone.text_width], kind)
            items = Items(texts.names, load, encode, {length: rows}, chunks)
            self.filler.fill(table, self.counts["text"], items)
            tables.append((rows, table))
        return tables

    def beside(
        self, key: Mapping[str, Any], names: Sequence[str], chunk: int, make: Callable[[list[int]], Tensor]
    ) -> Tensor:
        """Rows by name of what is no tower of this model, such as a teacher: found, or made and kept.

        Args:
            key: JSON values; with the setting that all is computed in, everything that determines the rows.
            names: of all items; equal names are one item.
            chunk: items that are made at once, always as many.
            make: positions among the names -> their rows.
        """
        setting = {name: str(value) for name, value in asdict(Setting.now(self.backbone)).items()}
        stored = {"dtype": str(self.dtype).removeprefix("torch."), "chunk": chunk}
        table = self.store.table({**key, **setting, **stored, "libraries": library_versions()["torch"]})
        counts = self.counts.setdefault("teacher", Counts())
        counts.asked += len(names)

        def encode(rows: Tensor, _: int) -> Tensor:
            return make(rows.tolist())

        items = Items(names, torch.tensor, encode, {0: range(len(names))}, {0: chunk})
        self.filler.fill(table, counts, items)
        counts.used(table.digest, names)
        return self.moved(table.rows(names))

    def moved(self, rows: Tensor) -> Tensor:
        """Rows at rest, on the backbone's device and of its dtype."""
        if self.device.type == "cuda":
            rows = rows.pin_memory()
        return rows.to(self.device, self.backbone.logit_scale.dtype, non_blocking=True)

    @property
    def device(self) -> torch.device:
        return self.backbone.logit_scale.device

    def _shape(self, cut: Cut, layers: int | None, width: int | None) -> list[int]:
        return [self.backbone.embed_dim] if cut.pooled else [layers or 0, width or 0]

    def _table(self, what: str, cut: Cut, shape: list[int], kind: str) -> Table:
        """The table of everything that determines these rows."""
        setting = Setting.now(self.backbone)
        here = (what, cut, tuple(shape), kind, setting)
        if here not in self._tables:
            key = table_key(self.backbone, what, cut, kind, setting, self._chunk)
            stored = {"dtype": str(self.dtype).removeprefix("torch."), "shape": shape}
            self._tables[here] = self.store.table(key | stored)
        return self._tables[here]
