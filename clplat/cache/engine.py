"""Features of a retriever's towers: from the store as far as they are frozen, computed above that."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from clplat.cache.counts import Counts
from clplat.cache.cuts import Cut, TowerCuts
from clplat.cache.grouping import by_length, distinct, worthwhile
from clplat.cache.rows import BUCKET, Rows
from clplat.cache.store import Store
from clplat.data.inputs import Images, Texts
from clplat.models.backbone import Backbone
from clplat.models.features import POOLED, ImageFeatures, TextFeatures, Wants, checked_wants
from clplat.models.readout import needed_of, read_out
from clplat.models.stages import Tower

__all__ = ["FeatureCache"]

#: A group of texts goes through the tower apart from longer ones if that saves this many operations.
LEAST_FLOPS = 5e8
_TOWERS: tuple[Tower, ...] = ("image", "text")


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
        self._rows = Rows(backbone, store, dtype)
        self.counts: dict[str, Counts] = self._rows.counts
        self.beside = self._rows.beside
        #: By tower, and whether it is looked at without its prompt.
        self._cuts = {
            (tower, bare): TowerCuts(backbone, tower, bare) for tower in _TOWERS for bare in (False, True)
        }
        self._announced: dict[str, list[tuple[frozenset[str], Any]]] = {tower: [] for tower in _TOWERS}
        self._prefetched: set[Cut] = set()
        self._written_before = store.bytes_written

    def __deepcopy__(self, memo: Any) -> None:
        """The copy of a retriever has no cache: this one belongs to one backbone."""

    @contextmanager
    def counting(self) -> Iterator[Callable[[], int]]:
        """Inside, the yielded function returns the floating-point operations spent on rows that are kept.

        They belong to no training step: the next one finds the rows.
        """
        filler = self._rows.filler
        filler.counting, filler.flops = True, 0
        try:
            yield lambda: filler.flops
        finally:
            filler.counting = False

    def refresh(self) -> None:
        """The model may have been changed in any way: look at all of it again."""
        self.backbone.hashes.age()
        self._rows.refresh()
        for cuts in self._cuts.values():
            cuts.refresh()
        self._announced = {tower: [] for tower in _TOWERS}
        self._prefetched.clear()

    def live_images(self, wants: Wants = POOLED) -> bool:
        """Whether pictures go through the whole tower now, so that their pixels will be needed."""
        needed = needed_of(self.backbone, "image", wants)
        return "input" in needed or (bool(needed) and self._cuts["image", False].cut(needed) is None)

    def prepare(
        self,
        images: Images,
        texts: Texts,
        image_wants: Wants = POOLED,
        text_wants: Wants = POOLED,
        again: bool = False,
    ) -> None:
        """Make all rows that will be needed, ahead of their use.

        Args:
            images: as in `image`; each may stand here several times.
            texts: as in `text`.
            image_wants, text_wants: what they will be needed with.
            again: the rows will be needed until `refresh`, perhaps of another state of the model as well: the
                first request for some of them, as in a teacher's first step, then makes them all.
        """
        asked: list[tuple[Images | Texts, Wants]] = [(images, image_wants), (texts, text_wants)]
        for tower, (items, wants) in zip(_TOWERS, asked, strict=True):
            if again and wants:
                self._announced[tower].append((frozenset(items.names), items))
            for needed, bare in self._passes(tower, wants):
                for cut in self._kept(tower, items, needed, bare):
                    self._rows.fill(tower, cut, items, bare)
        self.store.flush()

    def image(self, images: Images, wants: Wants = POOLED, *, bare: bool = False) -> ImageFeatures:
        """Features of pictures, as `Backbone.image` gives them."""
        backbone = self.backbone
        needed = checked_wants(wants) if bare else needed_of(backbone, "image", wants)
        kept = self._kept("image", images, needed, bare)
        pixels = images.pixels.to(self._rows.device) if "input" in needed else None
        if self._runs_live("image", len(images), needed, kept, bare):
            own = self._for_prompt("image", images, bare)
            found = backbone.image(images.pixels.to(self._rows.device), wants, own=own, bare=bare)
        elif kept and not kept[0].whole:
            own, rows = self._for_prompt("image", images, bare), self._found(kept[0], images, bare)
            found = backbone.image(rows, wants, own=own, done=kept[0].blocks, bare=bare)
        else:
            kept_rows: dict[str, Any] = {str(cut): self._found(cut, images, bare) for cut in kept}
            found = ImageFeatures(**kept_rows, pixels=pixels)
            if not bare:
                read_out(backbone, found, wants)
        found.pixels, found.keys, found.captions = pixels, images.names, images.captions
        return found

    def text(
        self, texts: Texts, wants: Wants = POOLED, *, other: ImageFeatures | None = None, bare: bool = False
    ) -> TextFeatures:
        """Features of texts, as `Backbone.text` gives them."""
        backbone = self.backbone
        needed = checked_wants(wants) if bare else needed_of(backbone, "text", wants)
        kept = self._kept("text", texts, needed, bare)
        ids = texts.ids.to(self._rows.device, non_blocking=True)
        if self._runs_live("text", len(texts), needed, kept, bare):
            found = self._live_texts(texts, ids, wants, other, bare)
        elif kept and not kept[0].whole:
            found = self._text_from(kept[0], texts, ids, wants, other, bare)
        else:
            kept_rows: dict[str, Any] = {str(cut): self._found(cut, texts, bare) for cut in kept}
            found = TextFeatures(**kept_rows, input_ids=ids)
            if not bare:
                read_out(backbone, found, wants)
        found.input_ids, found.texts = ids, texts.said
        return found

    def _for_prompt(self, tower: Tower, items: Any, bare: bool) -> Any:
        """What the prompt of a tower wants of it without a prompt; None where it wants nothing."""
        prompt = None if bare else getattr(self.backbone, f"{tower}_prompt")
        if prompt is None or not prompt.wants:
            return None
        return (self.image if tower == "image" else self.text)(items, prompt.wants, bare=True)

    def report(self) -> dict[str, Any]:
        """What was reused so far, as plain data."""
        return {
            **{tower: counts.report() for tower, counts in self.counts.items()},
            "bytes_written": self.store.bytes_written - self._written_before,
        }

    def _kept(
        self, tower: Tower, items: Images | Texts, needed: frozenset[str], bare: bool = False
    ) -> list[Cut]:
        """The cuts whose rows give what is needed: one, or one for each feature; none of a live tower."""
        computed = needed - {"input"}
        if not computed or (isinstance(items, Images) and not items.kind):
            return []
        return self._cuts[tower, bare].cuts(computed)

    def _runs_live(
        self, tower: Tower, count: int, needed: frozenset[str], kept: Sequence[Cut], bare: bool
    ) -> bool:
        """Count a request; whether it goes through the whole tower."""
        if not needed - {"input"}:
            return False
        counts = self.counts[tower]
        cuts: Sequence[Cut | None] = kept or [None]
        for cut in cuts:
            counts.asked += count
            counts.saw(cut, self._cuts[tower, bare].unseen)
        counts.live += 0 if kept or tower == "text" else count
        return not kept

    def _passes(self, tower: Tower, wants: Wants) -> list[tuple[frozenset[str], bool]]:
        """What is asked of a tower for these wants, and whether without its prompt: twice by some prompts."""
        prompt = self.backbone.image_prompt if tower == "image" else self.backbone.text_prompt
        own = [(prompt.wants, True)] if wants and prompt is not None and prompt.wants else []
        return [*own, (needed_of(self.backbone, tower, wants), False)]

    def _found(self, cut: Cut, items: Images | Texts, bare: bool = False) -> Tensor:
        """The rows of these items at a cut with one table."""
        tower: Tower = "image" if isinstance(items, Images) else "text"
        self._prefetch(tower, cut, items.names, bare)
        [(_, table)] = self._rows.fill(tower, cut, items, bare)
        self.counts[tower].used(table.digest, items.names)
        return self._rows.moved(table.rows(items.names))

    def _text_from(
        self, cut: Cut, texts: Texts, ids: Tensor, wants: Wants, other: ImageFeatures | None, bare: bool
    ) -> TextFeatures:
        """Go on from the blocks below a cut."""
        own = self._for_prompt("text", texts, bare)
        self._prefetch("text", cut, texts.names, bare)
        tables, backbone = self._rows.fill("text", cut, texts, bare), self.backbone
        length = max(table.key["shape"][0] for _, table in tables)
        x = backbone.logit_scale.new_zeros(len(texts), length, backbone.text_width)
        for rows, table in tables:
            self.counts["text"].used(table.digest, [texts.names[i] for i in rows])
            found = self._rows.moved(table.rows([texts.names[i] for i in rows]))
            x[rows, : found.shape[1]] = found
        known = None if "tokens" in wants else length
        ends = backbone.text_ends(ids)
        return backbone.text_from_embeddings(
            x, ends, wants, own=own, other=other, bare=bare, length=known, done=cut.blocks
        )

    def _prefetch(self, tower: Tower, cut: Cut, names: Sequence[str], bare: bool) -> None:
        """Make at a new cut all other rows that will be needed there: many at once cost least."""
        announced = self._announced[tower]
        if cut in self._prefetched or all(known.isdisjoint(names) for known, _ in announced):
            return
        self._prefetched.add(cut)
        for _, items in announced:
            self._rows.fill(tower, cut, items, bare)

    def _live_texts(
        self, texts: Texts, ids: Tensor, wants: Wants, other: ImageFeatures | None, bare: bool
    ) -> TextFeatures:
        """Through the whole tower: equal texts once, short ones apart from long ones where it pays."""
        counts, backbone = self.counts["text"], self.backbone
        prompt = None if bare else backbone.text_prompt
        conditional = prompt is not None and bool(prompt.wants or prompt.reads_other)
        alone = frozenset(wants) - {"input"} == POOLED and not conditional
        if not alone or backbone.text_layers is None or self._cuts["text", bare].is_stochastic_now():
            counts.live += len(texts)
            known = None if "tokens" in wants or backbone.text_layers is None else max(texts.lengths)
            own = self._for_prompt("text", texts, bare)
            return backbone.text(ids, wants, own=own, other=other, bare=bare, length=known)
        first, back = distinct(texts.names)
        counts.live += len(first)
        groups = by_length([texts.lengths[i] for i in first], BUCKET, ids.shape[1])
        groups = worthwhile(groups, LEAST_FLOPS / (24 * backbone.text_layers * backbone.text_width**2))
        pooled = [
            backbone.text(ids[[first[i] for i in rows]], bare=bare, length=n).pooled
            for n, rows in groups.items()
        ]
        place = {i: at for at, i in enumerate(i for rows in groups.values() for i in rows)}
        return TextFeatures(pooled=torch.cat(pooled)[[place[i] for i in back]])
