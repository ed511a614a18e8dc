"""The contract of a reference: data beside the stream that a strategy may learn from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from random import Random

from clplat.data.items import Picture
from clplat.progress import Progress

__all__ = ["Reference"]


class Reference:
    """Pictures and texts that belong to no domain and need not belong to each other.

    The result records what it is and how many bytes a deployment would have to keep of it; a picture that is
    also in a gallery of the stream is refused. The constructor is the configuration.
    """

    #: Of the draws of `sample`; a part that takes ``seed`` stores it here.
    seed: int | None = None

    def pictures(self) -> Sequence[Picture]:
        """All of its pictures, equal at every call."""
        raise NotImplementedError

    def texts(self) -> Sequence[str]:
        """All of its texts, equal at every call."""
        raise NotImplementedError

    def sample(self, progress: Progress, pictures: int, texts: int) -> tuple[list[Picture], list[str]]:
        """Different pictures and different texts, drawn apart, for one step of training.

        Args:
            progress: where training stands; the same place gives the same draw.
            pictures: how many, or all where there are fewer; texts: likewise.
        """
        draw = Random(progress.generator(self.seed or 0, "reference").initial_seed())
        shown, said = self.pictures(), self.texts()
        chosen = draw.sample(range(len(shown)), min(pictures, len(shown)))
        words = draw.sample(range(len(said)), min(texts, len(said)))
        return [shown[i] for i in chosen], [said[i] for i in words]

    def fingerprint(self) -> str:
        """The sha256 of the keys of all pictures and of all texts."""
        held = [[picture.key for picture in self.pictures()], [*self.texts()]]
        return hashlib.sha256(json.dumps(held).encode()).hexdigest()

    def bytes(self, image_size: int) -> int:
        """Bytes of all of it at rest: pictures as a model of this size reads them, texts in UTF-8."""
        return 3 * image_size**2 * len(self.pictures()) + sum(len(text.encode()) for text in self.texts())
