"""The contract of a head: embeddings of one version of the model in, what is stored and compared out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, TypeAlias

from torch import Tensor, nn
from torch.nn.functional import normalize

from clplat.models.view import Towers

__all__ = ["Head", "Side", "View"]

#: Queries may be treated otherwise than what is stored: more finely, say.
Side: TypeAlias = Literal["query", "gallery"]


class View:
    """One way to store and to compare the rows of a head: as they are, unless a subclass has another.

    A gallery at rest holds what `store` gives, in memory and on disk; whoever ranks reads it through `load`.

    Args:
        weight: of its term in the task's loss; 0: it is measured only.
        tie_rule: ``"against"`` counts every tie with a wrong answer as lost, ``"index"`` goes by gallery row.
            Short codes tie often, and the order of a gallery must not decide.

    Raises:
        ValueError: a negative weight, or no such rule.
    """

    def __init__(self, weight: float = 1.0, tie_rule: Literal["index", "against"] = "index") -> None:
        if not weight >= 0:
            raise ValueError(f"the weight of a view must be at least 0, not {weight}")
        if tie_rule not in ("index", "against"):
            raise ValueError(f"tie_rule must be 'index' or 'against', not '{tie_rule}'")
        self.weight, self.tie_rule = weight, tie_rule

    def map(self, rows: Tensor, side: Side) -> Tensor:
        """Rows (N, W) of the head -> what is compared (N, V), differentiable where it can be."""
        return rows

    def store(self, rows: Tensor) -> Tensor:
        """Gallery rows (N, W) of the head -> what is kept of them, one row each: packed bits, say."""
        return self.map(rows, "gallery")

    def load(self, stored: Tensor) -> Tensor:
        """What was kept -> what queries are compared with (N, V), float32."""
        return stored

    def bytes_per_item(self, stored: Tensor) -> float:
        """What one gallery item takes at rest."""
        return stored.nbytes / max(1, len(stored))


class Head(nn.Module):
    """Turns embeddings into what is stored and compared; the constructor is the configuration.

    It stands behind the composer, and before projections between versions. Its weights are trained with the
    learning rate of heads and are saved with every version.
    """

    #: Its first weights are random, so that it would spoil the untrained model, which is therefore measured
    #: without it: zero-shot is CLIP's. A head that is the identity at first needs no exception.
    starts_random: ClassVar[bool] = False

    def __init__(self) -> None:
        super().__init__()

    def attach(self, towers: Towers) -> int:
        """Create the layers for these towers, from torch's generator; return the width W of its rows."""
        return towers.joint

    def forward(self, x: Tensor, side: Side) -> Tensor:
        """Embeddings (B, D), not normalised -> rows (B, W), of about unit length."""
        return normalize(x, dim=-1)

    def views(self) -> Mapping[str, View]:
        """Name -> view, known after `attach`; the first is what tables show. None: the rows as they are."""
        return {}

    def terms(self, batch: Any, outputs: Any) -> dict[str, Tensor]:
        """Objectives of its own for a training step, weighted, as means over the examples of the batch."""
        return {}
