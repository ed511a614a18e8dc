"""The contract of a composer: reference features and text features in, a query embedding out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor, nn

from clplat.models.features import POOLED, ImageFeatures, TextFeatures
from clplat.models.view import Towers

__all__ = ["Composer"]


class Composer(nn.Module):
    """Maps the features of the reference picture and of the modification text to the query.

    The constructor is the configuration. `attach` makes the layers once the towers are known; a composer
    without parameters does not need it. A composer knows no data set.
    """

    #: What it reads of each input, of `clplat.models.features.WANTS`. What nobody wants is not computed: an
    #: empty set says that this input does not reach the query, and its tower is left frozen.
    wants: ClassVar[Mapping[str, frozenset[str]]] = {"image": POOLED, "text": POOLED}
    #: What `target` reads of a candidate's picture.
    target_wants: ClassVar[frozenset[str]] = POOLED
    #: What its `terms` read beyond that, in training only: of a query's ``"image"`` and ``"text"``, and of
    #: the ``"answer"``'s picture. Where it names anything, ``outputs.triplets`` holds these features.
    learns_from: ClassVar[Mapping[str, frozenset[str]]] = {}
    #: What it sees of a query is the picture alone: beside a model's own composer, a blind baseline.
    blind: ClassVar[bool] = False
    #: Places of the context that its template takes beside the text; known after `attach`. Longer texts count
    #: as cut.
    places: int = 0
    #: `grow` adds weights for the next domain.
    grows: ClassVar[bool] = False
    #: Nobody reads the query of a training step but the composer's own `terms`: a run without a loss, of a
    #: strategy that looks at no outputs. A composer may then leave it out and give rows of NaN.
    unread: bool = False
    #: `fit` learns statistics of training data; what it keeps are buffers, made in `attach`.
    fits: bool = False

    @property
    def objectives(self) -> tuple[str, ...]:
        """Names of the `terms` that can train it alone, so that the slot ``loss`` may be empty."""
        return ()

    def attach(self, towers: Towers) -> None:
        """Create the layers for these towers; initial values are drawn from torch's generator.

        A composer that needs the width of the joint space alone may define ``build(embed_dim)`` instead.
        """
        build = getattr(self, "build", None)
        if build is not None:
            build(towers.joint)

    def __call__(self, image: Any, text: Any) -> Any:
        """The query, see `forward`; plain tensors (B, D) are features of the joint space.

        Example:
            >>> import torch
            >>> from clplat.composers import Sum
            >>> Sum()(torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, 4.0]]))
            tensor([[0.7071, 0.7071]])
        """
        image = ImageFeatures(pooled=image) if isinstance(image, Tensor) else image
        return super().__call__(image, TextFeatures(pooled=text) if isinstance(text, Tensor) else text)

    def forward(self, image: ImageFeatures, text: TextFeatures) -> Tensor:
        """Return the query (B, D) in the gallery's space; the retriever normalises it."""
        raise NotImplementedError

    def target(self, image: ImageFeatures) -> Tensor:
        """What a candidate's picture becomes in the gallery (B, D); it never sees a query."""
        return image.pooled

    def grow(self) -> None:
        """Freeze what it has learnt and add what the next domain trains, which changes nothing at first."""

    def fit(self, image: Tensor, text: Tensor, target: Tensor) -> None:
        """Learn statistics of the domains seen so far, before this version is measured.

        Args:
            image, text, target: (N, D) as the towers give them, row by row the reference, the words and the
                answer of one training query.
        """

    def terms(self, batch: Any, outputs: Any) -> dict[str, Tensor]:
        """Objectives of its own for a training step, weighted, as means over the examples of the batch."""
        return {}
