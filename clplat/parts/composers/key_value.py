"""A discrete key-value bottleneck behind another composer: a step moves only the values that it fetched."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from clplat.config.space import Choice
from clplat.models.features import ImageFeatures, TextFeatures
from clplat.models.view import Towers
from clplat.parts.composers._base import Composer
from clplat.parts.composers.sum import Sum

__all__ = ["KeyValue"]


class KeyValue(Composer):
    """A query fetches the values of its nearest keys, one per codebook, and adds their mean.

    ``q = n(q_0 + 1/C sum_c v_c[argmax_k n(W_c n(q_0)) . key_ck])`` with q_0 the query of ``inner``, W_c
    random projections and v the values, which begin at zero: the inner composer's query at first. The
    gradient of a step reaches the values that its queries fetched and no others, so that a domain changes
    what is near to it. Keys are the projections of the first ``keys`` queries that are trained on, and stay.

    Plain gradient descent moves fetched values alone; momentum and weight decay also move those that were
    fetched before, or never. Use ``--train.optimizer sgd`` where that matters.

    Args:
        inner: makes the query, of frozen features where the keys are to stay near to what they stand for.
        codebooks: C, each with a projection of its own.
        keys: of each codebook.
        key_width: dimensions of a projection.

    What is trained: the values, and what of ``inner`` is.

    Raises:
        ValueError: a number below 1.

    Reference:
        Träuble et al. 2023, Discrete Key-Value Bottleneck, arXiv 2207.11240.

    Example:
        >>> composer = KeyValue(codebooks=2, keys=3)
        >>> composer.build_codebooks(width=2)
        >>> composer.eval()(torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, 4.0]])).detach()
        tensor([[0.7071, 0.7071]])
    """

    projections: Tensor
    keys: Tensor
    met: Tensor

    def __init__(
        self,
        inner: Composer | None = None,
        codebooks: Annotated[int, Choice(4, 16, 64)] = 16,
        keys: Annotated[int, Choice(64, 256, 1024)] = 256,
        key_width: Annotated[int, Choice(8, 16, 32)] = 8,
    ) -> None:
        super().__init__()
        if min(codebooks, keys, key_width) < 1:
            raise ValueError(
                f"codebooks, keys and key_width must be at least 1, not {codebooks}, {keys} and {key_width}"
            )
        self.inner = Sum() if inner is None else inner
        self.codebooks, self.keys_held, self.key_width = codebooks, keys, key_width
        self.wants: Mapping[str, frozenset[str]] = self.inner.wants  # type: ignore[misc]
        self.target_wants = self.inner.target_wants  # type: ignore[misc]

    @property
    def places(self) -> int:  # type: ignore[override]
        return self.inner.places

    def attach(self, towers: Towers) -> None:
        """Attach the inner composer, and draw projections and first keys from torch's generator."""
        self.inner.attach(towers)
        self.build_codebooks(towers.joint)

    def build_codebooks(self, width: int) -> None:
        """Make codebooks for a joint space of ``width`` dimensions."""
        self.register_buffer("projections", torch.randn(self.codebooks, width, self.key_width))
        keys = torch.randn(self.codebooks, self.keys_held, self.key_width)
        self.register_buffer("keys", normalize(keys, dim=-1))
        self.register_buffer("met", torch.zeros((), dtype=torch.int64))
        self.values = nn.Parameter(torch.zeros(self.codebooks, self.keys_held, width))

    def forward(self, image: ImageFeatures, text: TextFeatures) -> Tensor:
        query = normalize(self.inner(image, text), dim=-1)
        codes = normalize(torch.einsum("bd,cdk->bck", query.detach(), self.projections), dim=-1)
        if self.training:
            self._take_keys(codes.detach())
        nearest = torch.einsum("bck,cjk->bcj", codes, self.keys).argmax(2)
        books = torch.arange(self.codebooks, device=nearest.device)
        return query + self.values[books, nearest].mean(1)

    def target(self, image: ImageFeatures) -> Tensor:
        return self.inner.target(image)

    def terms(self, batch: Any, outputs: Any) -> dict[str, Tensor]:
        return self.inner.terms(batch, outputs)

    @torch.no_grad()
    def _take_keys(self, codes: Tensor) -> None:
        """The next places among the keys go to these queries, until there are none."""
        met = int(self.met)
        if met < self.keys_held:
            part = codes[: self.keys_held - met]
            self.keys[:, met : met + len(part)] = part.transpose(0, 1)
            self.met += len(part)
