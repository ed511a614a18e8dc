"""Records -> tensors: pictures through one pixel store, texts through the backbone's tokenizer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from functools import partial
from itertools import count

import torch
from torch import Tensor

from clplat.data.augment import Augment
from clplat.data.batch import Batch
from clplat.data.columns import Column
from clplat.data.images import PixelStore
from clplat.data.inputs import Images, Texts
from clplat.data.records import Example, Item, Picture
from clplat.randomness import generator

__all__ = ["Collate", "item_columns"]


class Collate:
    """Joins examples to a `Batch`; pictures are decoded when their pixels are read.

    Only what is there is decoded and tokenised. A text on the candidate side that comes several times, such
    as a class prompt, is one row of the batch's texts, and so embedded once.

    Args:
        pixels: decodes and preprocesses each distinct picture once.
        tokenize: texts -> (B, L) token ids.
        augment: random views of the pictures of a training batch.
        transform: what is trained on in place of an example, and a generator for what it draws.
        seed: of what the transform draws.
    """

    def __init__(
        self,
        pixels: PixelStore,
        tokenize: Callable[[Sequence[str]], Tensor],
        augment: Augment | None = None,
        transform: Callable[[Example, torch.Generator], Example] | None = None,
        seed: int = 0,
    ) -> None:
        self.pixels, self.tokenize, self.augment = pixels, tokenize, augment
        self.transform, self.seed = transform, seed
        self._moment: str | None = None

    def at(self, moment: str) -> Collate:
        """The same for a moment of training, such as an epoch, which decides what is drawn at random.

        Without a moment, as for a memory, pictures have no random views, and the transform draws once and for
        all.
        """
        other = copy(self)
        other._moment = moment
        return other

    def transformed(self, example: Example) -> Example:
        """What is trained on in place of an example, at this moment."""
        if self.transform is None:
            return example
        place = (self._moment or "stored", example.domain, example.id)
        return self.transform(example, generator(self.seed, "transform", *place))

    def __call__(self, examples: Sequence[Example]) -> Batch:
        examples = [self.transformed(example) for example in examples]
        negatives = [(i, k, n) for i, e in enumerate(examples) for k, n in enumerate(e.negatives)]
        items = [(f"{e.id}/reference", e.query) for e in examples]
        items += [(f"{e.id}/target", e.target) for e in examples]
        items += [(f"{examples[i].id}/{k}", negative.item) for i, k, negative in negatives]
        shown = [place for place, item in items if item.picture is not None]
        pictures, texts = item_columns(
            [item for _, item in items], partial(self._images, shown), self.tokenize, queries=len(examples)
        )
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
                "pictures": pictures,
                "texts": texts,
            },
            [*range(len(examples)), *(i for i, *_ in negatives)],
        )

    def _images(self, places: Sequence[str], pictures: Sequence[Picture]) -> Images:
        augment, moment = self.augment, self._moment
        if augment is None or moment is None:
            return self.pixels.images(pictures)
        named = zip(places, pictures, strict=True)
        return self.pixels.images([augment(picture, f"{moment}/{place}") for place, picture in named])


def item_columns(
    items: Sequence[Item],
    images: Callable[[Sequence[Picture]], Images],
    tokenize: Callable[[Sequence[str]], Tensor],
    queries: int = 0,
) -> tuple[Column[Images], Column[Texts]]:
    """The pictures and the texts of items, as columns along them.

    Args:
        items: each with a picture, a text or both.
        images: what reads pictures, such as `PixelStore.images`.
        tokenize: texts -> (N, L) token ids.
        queries: the first so many keep a row of their own; equal texts of the others share one.

    Example:
        >>> tokenize = lambda texts: torch.tensor([[len(text)] for text in texts])
        >>> items = [Item.of(text="a dog"), Item.of(text="a cat"), Item("again", text="a dog")]
        >>> item_columns(items, lambda shown: Images([], lambda *_: torch.empty(0)), tokenize)[1].index
        [0, 1, 0]
    """
    shown = [item.picture for item in items if item.picture is not None]
    number = count()
    index = None if len(shown) == len(items) else [-1 if i.picture is None else next(number) for i in items]
    said: list[str] = []
    rows: list[int] = []
    known: dict[str | None, int] = {None: -1}
    for place, text in enumerate(item.text for item in items):
        if text is None or (place >= queries and text in known):
            rows.append(known[text])
            continue
        rows.append(len(said))
        said.append(text)
        if place >= queries:
            known[text] = rows[-1]
    return Column(images(shown), "item", index), Column(Texts(tokenize(said), said=said), "item", rows)
