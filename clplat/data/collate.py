"""Records -> tensors: pictures through one pixel store, texts through the backbone's tokenizer."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from clplat.data.augment import Augment
from clplat.data.batch import Batch
from clplat.data.images import PixelStore
from clplat.data.records import Picture, Triplet


class Collate:
    """Joins triplets to a `Batch`; pictures are decoded when their pixels are read.

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

    def __call__(self, triplets: Sequence[Triplet]) -> Batch:
        named: list[tuple[str, Picture]] = [(f"{t.id}/reference", t.reference) for t in triplets]
        named += [(f"{t.id}/target", t.target) for t in triplets]
        named += [(f"{t.id}/{i}", extra.picture) for t in triplets for i, extra in enumerate(t.extras)]
        augment, moment = self.augment, self._moment
        if augment is not None and moment is not None:
            pictures = [augment(picture, f"{moment}/{name}") for name, picture in named]
        else:
            pictures = [picture for _, picture in named]
        rows = [
            {
                "id": triplet.id,
                "domain": triplet.domain,
                "weight": triplet.weight,
                "labels": [triplet.label, *(extra.label for extra in triplet.extras)],
                "kinds": ["target", *(extra.kind for extra in triplet.extras)],
                "scopes": ["batch", *(extra.scope for extra in triplet.extras)],
            }
            for triplet in triplets
        ]
        tokens = self.tokenize([triplet.text for triplet in triplets])
        return Batch.joined(rows, self.pixels.images(pictures), tokens)
