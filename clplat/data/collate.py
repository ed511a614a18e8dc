"""Records -> tensors: pictures through one pixel store, texts through the backbone's tokenizer."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from clplat.data.images import PixelStore
from clplat.data.records import Batch, Picture, Triplet

__all__ = ["Collate"]


class Collate:
    """Joins triplets to a `Batch`.

    Args:
        pixels: decodes and preprocesses each distinct picture once.
        tokenize: texts -> (B, L) token ids.
    """

    def __init__(self, pixels: PixelStore, tokenize: Callable[[Sequence[str]], Tensor]) -> None:
        self.pixels, self.tokenize = pixels, tokenize

    def __call__(self, triplets: Sequence[Triplet]) -> Batch:
        tokens = self.tokenize([triplet.text for triplet in triplets])
        pictures: list[Picture] = []
        for triplet in triplets:
            pictures += [triplet.reference, triplet.target, *(extra.picture for extra in triplet.extras)]
        pixels = self.pixels.get(pictures)
        rows, at = [], 0
        for i, triplet in enumerate(triplets):
            count = 2 + len(triplet.extras)
            rows.append(
                {
                    "id": triplet.id,
                    "domain": triplet.domain,
                    "reference": pixels[at],
                    "tokens": tokens[i],
                    "weight": triplet.weight,
                    "candidates": pixels[at + 1 : at + count],
                    "labels": [triplet.label, *(extra.label for extra in triplet.extras)],
                    "kinds": ["target", *(extra.kind for extra in triplet.extras)],
                    "scopes": ["batch", *(extra.scope for extra in triplet.extras)],
                }
            )
            at += count
        return Batch.from_rows(rows)
