"""ProbVLM: behind frozen towers each query and item is a distribution, which says how sure its place is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize

from clplat.config.space import Choice, Float
from clplat.mechanisms.distributions import Distribution, SpreadNetwork
from clplat.models.features import ImageFeatures, TextFeatures
from clplat.models.view import Towers
from clplat.parts.scorers._base import Scorer

__all__ = ["Distributions"]


class Distributions(Scorer):
    """A generalised Gaussian for each query and item: mean, scale and shape of every number of the embedding.

    A network for queries and one for items (`SpreadNetwork`) are trained on the embeddings z, which stay as
    they are, by likelihoods within a side and, at ``cross``, of the other side's embedding,

        L(m, a, b; x) = l1 |m - x|_1 + likelihood (-log p(x | m, a, b)),
        sum over both sides of L(...; z) + cross L(...; z of the other side),

    as means over numbers and examples. Three scores:

    * ``embeddings``: the cosine, so that ranking stays the model's and the distributions tell how sure it is;
    * ``means``: the cosine of the means;
    * ``expected``: ``1 - E |q - g|^2 / 2``, which puts uncertain items behind.

    `distribution` gives mean, scale and shape of rows, and the probe ``calibration`` measures what the
    uncertainty is worth. A text alone is treated as a query. A row lays four vectors side by side.

    Args:
        compare: ``embeddings``, ``means`` or ``expected``.
        hidden: width of the networks' bodies.
        dropout: inside them.
        l1: weight of the distance.
        likelihood: weight of the likelihood.
        cross: weight of the other side's embedding.

    Raises:
        ValueError: a weight below 0, or another score.

    What is trained: about 14 D^2 weights with ``hidden`` = D / 2, drawn in `attach`.

    Reference:
        Upadhyay et al., "ProbVLM: Probabilistic Adapter for Frozen Vision-Language Models", ICCV 2023,
        arXiv:2307.00398.

    Example:
        >>> from clplat.testing.tiny import tiny_backbone
        >>> scorer = Distributions()
        >>> scorer.attach(Towers(tiny_backbone()))
        >>> item = scorer.item(ImageFeatures(pooled=torch.ones(1, 24)), lambda found: found.pooled)
        >>> scorer.distribution(item).shape.shape
        torch.Size([1, 24])
    """

    single = False

    def __init__(
        self,
        compare: Annotated[
            Literal["embeddings", "means", "expected"], Choice("embeddings", "means", "expected")
        ] = "embeddings",
        hidden: int = 256,
        dropout: float = 0.1,
        l1: float = 1.0,
        likelihood: Annotated[float, Float(1e-3, 1.0, log=True)] = 0.05,
        cross: Annotated[float, Float(1e-5, 1.0, log=True)] = 1e-4,
    ) -> None:
        super().__init__()
        if compare not in ("embeddings", "means", "expected"):
            raise ValueError(f"compare must be embeddings, means or expected, not '{compare}'")
        if (
            hidden < 1
            or not 0 <= dropout < 1
            or not all(0 <= w < float("inf") for w in (l1, likelihood, cross))
        ):
            raise ValueError(
                "needs hidden of at least 1, dropout in [0, 1) and weights of at least 0, not "
                f"{hidden}, {dropout}, {l1}, {likelihood} and {cross}"
            )
        self.compare, self.hidden, self.dropout = compare, hidden, dropout
        self.l1, self.likelihood, self.cross = l1, likelihood, cross

    def attach(self, towers: Towers) -> None:
        """Make both networks, from torch's generator."""
        self.of_queries, self.of_items = (
            SpreadNetwork(towers.joint, self.hidden, self.dropout) for _ in range(2)
        )
        # Two orders to add D products of unit vectors; variances are added in one order.
        self.slack = 4.04 * (towers.joint + 16) * 2.0**-24

    def query(
        self,
        image: ImageFeatures,
        text: TextFeatures,
        compose: Callable[[ImageFeatures, TextFeatures], Tensor],
    ) -> Tensor:
        return self._row(compose(image, text), self.of_queries)

    def item(self, image: ImageFeatures, target: Callable[[ImageFeatures], Tensor]) -> Tensor:
        return self._row(target(image), self.of_items)

    def text(self, text: TextFeatures) -> Tensor:
        return self._row(text.pooled, self.of_queries)

    def _row(self, embedding: Tensor, network: SpreadNetwork) -> Tensor:
        z = normalize(embedding, dim=-1)
        # Behind a cosine of embeddings nothing of the model is trained by likelihoods.
        found = network(z.detach() if self.compare == "embeddings" else z)
        return torch.cat([z, found.mean, found.scale, found.shape], dim=-1)

    def distribution(self, rows: Tensor) -> Distribution:
        return Distribution(*rows.chunk(4, dim=1)[1:])

    def block(self, queries: Tensor, items: Tensor) -> Tensor:
        (q, v), (g, w) = self._compared(queries), self._compared(items)
        return q @ g.T - (v[:, None] + w)

    def pairs(self, queries: Tensor, items: Tensor) -> Tensor:
        (q, v), (g, w) = self._compared(queries), self._compared(items)
        return (q * g).sum(1) - (v + w)

    def _compared(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Vectors (N, D) and what is taken off their products (N,)."""
        if self.compare == "embeddings":
            z = rows.chunk(4, dim=1)[0]
            return z, torch.zeros_like(z[:, 0])
        found = self.distribution(rows)
        if self.compare == "means":
            return normalize(found.mean, dim=1), torch.zeros_like(found.mean[:, 0])
        return found.mean, (found.mean.square().sum(1) + found.variance().sum(1) - 1.0) / 2

    def terms(self, batch: Any, outputs: Any) -> dict[str, Tensor]:
        """Likelihoods of both sides' embeddings, of examples and their answers."""
        with torch.autocast(outputs.query.device.type, enabled=False):
            rows = outputs.query.float(), outputs.candidates[: len(outputs.query)].float()
            z = [one.chunk(4, dim=1)[0].detach() for one in rows]
            found = [self.distribution(one) for one in rows]
            within = sum(self._fit(one, x) for one, x in zip(found, z, strict=True))
            across = sum(self._fit(one, x) for one, x in zip(found, z[::-1], strict=True))
        return {"distribution": within + self.cross * across}  # type: ignore[dict-item]

    def _fit(self, found: Distribution, x: Tensor) -> Tensor:
        return self.l1 * (found.mean - x).abs().mean() + self.likelihood * found.nll(x).mean()
