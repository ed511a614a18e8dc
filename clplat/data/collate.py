"""Records -> tensors: pictures through one pixel store, texts through the backbone's tokenizer."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from clplat.data.augment import Augment
from clplat.data.batch import Batch
from clplat.data.columns import Column
from clplat.data.images import PixelStore
from clplat.data.inputs import Texts
from clplat.data.records import Example, Item, Picture

__all__ = ["Collate"]


class Collate:
    """Joins examples to a `Batch`; pictures are decoded when their pixels are read.

    Only what is there is decoded and tokenised. A text on the candidate side that comes several times, such
    as a class prompt, is one row of the batch's texts, and so embedded once.

    Args:
        pixels: decodes and preprocesses each distinct picture once.
        tokenize: texts -> (B, L) token ids.
        augment: random views of the pictures of a training batch.
    """

    def __init__(
        self,
        pixels: PixelStore,
        tokenize: Callable[[Sequence[str]], Tensor],
        augment: Augment | None = None,
    ) -> None:
        self.pixels, self.tokenize, self.augment = pixels, tokenize, augment
        self._moment: str | None = None

    def at(self, moment: str) -> Collate:
        """The same for a moment of training, such as an epoch, which decides what random views are drawn."""
        other = Collate(self.pixels, self.tokenize, self.augment)
        other._moment = moment
        return other

    def __call__(self, examples: Sequence[Example]) -> Batch:
        negatives = [(i, k, n) for i, e in enumerate(examples) for k, n in enumerate(e.negatives)]
        items = [(f"{e.id}/reference", e.query) for e in examples]
        items += [(f"{e.id}/target", e.target) for e in examples]
        items += [(f"{examples[i].id}/{k}", negative.item) for i, k, negative in negatives]
        weights = torch.tensor([example.weight for example in examples], dtype=torch.float32)
        return Batch(
            {
                "ids": Column([example.id for example in examples]),
                "domains": Column([example.domain for example in examples]),
                "weights": Column(weights),
                "groups": Column([dict(example.groups) for example in examples]),
                "extra": Column([dict(example.extra) for example in examples]),
                "labels": Column([e.label for e in examples] + [n.label for *_, n in negatives], "candidate"),
                "kinds": Column(["target"] * len(examples) + [n.kind for *_, n in negatives], "candidate"),
                "scopes": Column(["batch"] * len(examples) + [n.scope for *_, n in negatives], "candidate"),
                "pictures": self._pictures(items),
                "texts": self._texts([item for _, item in items], len(examples)),
            },
            [*range(len(examples)), *(i for i, *_ in negatives)],
        )

    def _pictures(self, items: Sequence[tuple[str, Item]]) -> Column:
        shown, index = [], []
        for place, item in items:
            index.append(-1 if item.picture is None else len(shown))
            if item.picture is not None:
                shown.append(self._view(place, item.picture))
        return Column(self.pixels.images(shown), "item", None if len(shown) == len(items) else index)

    def _view(self, place: str, picture: Picture) -> Picture:
        if self.augment is None or self._moment is None:
            return picture
        return self.augment(picture, f"{self._moment}/{place}")

    def _texts(self, items: Sequence[Item], queries: int) -> Column:
        said: list[str] = []
        index: list[int] = []
        known: dict[str | None, int] = {None: -1}  # texts of candidates: they may share a row
        for place, item in enumerate(items):
            if (place >= queries and item.text in known) or item.text is None:
                index.append(known[item.text])
                continue
            index.append(len(said))
            said.append(item.text)
            if place >= queries:
                known[item.text] = index[-1]
        return Column(Texts(self.tokenize(said)), "item", index)
