"""Queries and items are embedded under what the text names, and compared there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from clplat.config.space import Float
from clplat.models.features import POOLED, ImageFeatures, TextFeatures
from clplat.models.view import Towers
from clplat.parts.scorers._base import Scorer

if TYPE_CHECKING:
    from clplat.data.batch import Batch
    from clplat.models.outputs import Outputs

__all__ = ["Conditional"]


class Conditional(Scorer):
    """``s = cos(m(t) * P q, m(t) * P g)``: the head that the text t conditions embeds both sides.

    q is the composed query and g a picture, ``*`` is element by element, ``m(t) = 2 sigmoid(W n(t) + b)``
    lies between 0 and 2. P is the identity at first, W and b are zero: scores begin as cosines. A picture or
    a text alone has ``m = 1``. A picture is stored once, whatever attributes are named later.

    What the text names is what a triplet changes; ``2 - m`` is then a head of what it keeps. With the
    reference r of a triplet and its answer g, both disentangled by::

        keep   = -log softmax_j cos((2 - m) * P r, (2 - m) * P g_j) / temperature     at its own answer
        change = max(0, margin + cos(m * P r, m * P g) - cos(m * P q, m * P g))

    where other right answers of a query are left out of the sum over j.

    Args:
        disentangle: weight of ``keep + change``; 0: heads learn from the loss alone.
        margin: of cosines, in what changes.
        temperature: of the softmax over what is kept.

    Raises:
        ValueError: ``disentangle`` or ``margin`` is negative, or ``temperature`` is not positive.

    What is trained: ``2 D^2 + D`` weights. A row lays four vectors side by side.

    Reference:
        Chen et al., "Omni-Attribute: Open-vocabulary Attribute Encoder for Visual Concept Personalization",
        arXiv:2512.10955.

    Example:
        >>> from clplat.testing.tiny import tiny_backbone
        >>> scorer = Conditional()
        >>> scorer.attach(Towers(tiny_backbone()))
        >>> scorer.text(TextFeatures(pooled=torch.ones(1, 24))).shape
        torch.Size([1, 96])
    """

    wants: ClassVar[Mapping[str, frozenset[str]]] = {"image": POOLED, "text": POOLED}
    single = False

    def __init__(
        self,
        disentangle: Annotated[float, Float(0.01, 1.0, log=True)] = 0.1,
        margin: Annotated[float, Float(0.05, 0.5)] = 0.1,
        temperature: Annotated[float, Float(0.01, 0.5, log=True)] = 0.07,
    ) -> None:
        super().__init__()
        if not (disentangle >= 0 and margin >= 0 and temperature > 0):
            raise ValueError(
                "disentangle and margin must be at least 0 and temperature positive, "
                f"not {disentangle}, {margin} and {temperature}"
            )
        self.disentangle, self.margin, self.temperature = disentangle, margin, temperature

    def attach(self, towers: Towers) -> None:
        """Make the head, the identity at first."""
        width = towers.joint
        self.project = nn.Linear(width, width, bias=False)
        nn.init.eye_(self.project.weight)
        self.names = nn.Linear(width, width)
        nn.init.zeros_(self.names.weight)
        nn.init.zeros_(self.names.bias)
        # Two orders to add D products in each of two sums, of terms of unit length.
        self.slack = 4.04 * (width + 16) * 2.0**-24

    def query(
        self,
        image: ImageFeatures,
        text: TextFeatures,
        compose: Callable[[ImageFeatures, TextFeatures], Tensor],
    ) -> Tensor:
        mask = 2 * self.names(normalize(text.pooled, dim=-1)).sigmoid()
        reference = normalize(self.project(image.pooled), dim=-1)
        return _row(normalize(self.project(compose(image, text)), dim=-1), mask, reference)

    def item(self, image: ImageFeatures, target: Callable[[ImageFeatures], Tensor]) -> Tensor:
        return self._alone(target(image))

    def text(self, text: TextFeatures) -> Tensor:
        return self._alone(text.pooled)

    def _alone(self, pooled: Tensor) -> Tensor:
        shown = normalize(self.project(pooled), dim=-1)
        return _row(shown, torch.ones_like(shown), torch.zeros_like(shown))

    def block(self, queries: Tensor, items: Tensor) -> Tensor:
        (asked, squared), shown = queries.chunk(4, dim=1)[:2], items.chunk(4, dim=1)[2]
        return (asked @ shown.T) / (squared @ (shown**2).T).clamp(min=1e-20).sqrt()

    def pairs(self, queries: Tensor, items: Tensor) -> Tensor:
        (asked, squared), shown = queries.chunk(4, dim=1)[:2], items.chunk(4, dim=1)[2]
        return (asked * shown).sum(1) / (squared * shown**2).sum(1).clamp(min=1e-20).sqrt()

    def terms(self, batch: Batch, outputs: Outputs) -> dict[str, Tensor]:
        """Both parts, of the examples that have a reference."""
        if not self.disentangle:
            return {}
        count = len(batch)
        queries, answers = outputs.query, outputs.candidates[:count]
        _, squared, _, reference = queries.chunk(4, dim=1)
        mask = squared.sqrt()
        weights = batch.weights.to(queries.dtype) * reference.detach().any(1)
        under = self.block(_row(reference, 2 - mask, reference), answers) / self.temperature
        own = torch.eye(count, dtype=torch.bool, device=under.device)
        others = batch.positive[:, :count] & ~own
        keep = -under.masked_fill(others, -torch.inf).log_softmax(1).diagonal()
        was = self.pairs(_row(reference, mask, reference), answers)
        change = (self.margin + was - self.pairs(queries, answers)).relu()
        mean = ((keep + change) * weights).sum() / weights.sum().clamp(min=1e-12)
        return {"disentangled": self.disentangle * mean}


def _row(shown: Tensor, mask: Tensor, reference: Tensor) -> Tensor:
    """What is compared under a mask, its square, the embedding as an item, and the reference."""
    return torch.cat([normalize(mask * shown, dim=-1) * mask, mask**2, shown, reference], dim=-1)
