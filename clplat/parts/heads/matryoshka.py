"""Matryoshka: every prefix of the embedding is an embedding too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from clplat.models.view import Towers
from clplat.parts.heads._base import Head, View
from clplat.parts.heads._views import Prefix

__all__ = ["Matryoshka"]


class Matryoshka(Head):
    """No layer of its own: trains and measures nested prefixes, so that one may store the first numbers only.

    ``loss = sum_m c_m loss(n(z_{1:m}))`` over the prefix lengths m, n = division by the L2 norm, whatever the
    loss is: contrastive, distillation, the sum of a combination. The whole embedding is always among them,
    and is what tables show; the prefixes are the views ``d<m>``.

    Args:
        dims: prefix lengths; by default D / 2, D / 4, ... down to 8 for a joint space of width D.
        weights: c_m of the whole embedding and then of ``dims``, from long to short; by default 1 each.

    Raises:
        ValueError: a length below 1 or given twice, or other weights than lengths.

    Reference:
        Kusupati et al., "Matryoshka Representation Learning", NeurIPS 2022, arXiv:2205.13147. There the
        lengths double from 8 up to the whole, with c_m = 1; contrastive losses take prefixes at unit length.

    Example:
        >>> from clplat.testing.tiny import tiny_backbone
        >>> head = Matryoshka()
        >>> head.attach(Towers(tiny_backbone()))
        24
        >>> list(head.views())
        ['full', 'd12']
    """

    def __init__(self, dims: Sequence[int] | None = None, weights: Sequence[float] | None = None) -> None:
        super().__init__()
        if dims is not None and (any(dim < 1 for dim in dims) or len(set(dims)) < len(dims)):
            raise ValueError(f"dims must be different lengths of at least 1, not {list(dims)}")
        if weights is not None and any(not weight >= 0 for weight in weights):
            raise ValueError(f"weights must be at least 0, not {list(weights)}")
        if weights is not None and dims is not None and len(weights) != len(dims) + 1:
            raise ValueError(f"weights are needed for the whole and {len(dims)} dims, not {len(weights)}")
        self.dims, self.weights = dims, weights
        self._views: dict[str, View] = {}

    def attach(self, towers: Towers) -> int:
        """Choose the prefixes; nothing is made or drawn.

        Raises:
            ValueError: a prefix that is no shorter than the joint space, or other weights than lengths.
        """
        width, dims = towers.joint, self.dims
        if dims is None:
            dims = [width >> t for t in range(1, width.bit_length()) if width >> t >= 8]
        dims = sorted(dims, reverse=True)
        if dims and dims[0] >= width:
            raise ValueError(f"dims must be shorter than the joint space of {width}, not {dims[0]}")
        weights = self.weights if self.weights is not None else [1.0] * (len(dims) + 1)
        if len(weights) != len(dims) + 1:
            raise ValueError(f"weights are needed for the whole and {len(dims)} dims, not {len(weights)}")
        self._views = {"full": View(weights[0])}
        self._views |= {f"d{dim}": Prefix(dim, c) for dim, c in zip(dims, weights[1:], strict=True)}
        return width

    def views(self) -> Mapping[str, View]:
        return self._views
