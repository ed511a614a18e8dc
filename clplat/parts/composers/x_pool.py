"""X-Pool: the text attends to the patches of the reference picture."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Annotated, ClassVar

from torch import Tensor, nn

from clplat.config.space import Float
from clplat.models.features import ImageFeatures, TextFeatures
from clplat.models.view import Towers
from clplat.parts.composers._base import Composer

__all__ = ["XPool"]


class XPool(Composer):
    """The text, and what of the picture it attends to: ``q = n(t) + n(o)``, n = division by the L2 norm.

    With the patches C in the joint space (by the tower's own projection), and LN a layer norm each,

        Q = W_Q LN_1(t),   K = W_K LN_1(C),   V = W_V LN_1(C),   a = W_O softmax(Q K' / sqrt(D)) V,
        o = LN_3(W_F LN_2(a) + LN_2(a)),

    all W the identity and all biases zero at first, so that training starts from plain attention pooling.

    Args:
        dropout: of W_F's output, in training.

    Raises:
        ValueError: a dropout outside [0, 1).

    What is trained: 5 D^2 weights and three layer norms. The gallery does not depend on the query: there a
    picture is its pooled feature.

    Reference:
        Gorti et al., "X-Pool: Cross-Modal Language-Video Attention for Text-Video Retrieval", CVPR 2022,
        arXiv:2203.15086. There the text attends to the frames of a video, and the result is scored against
        the text; here to the patches of the reference, and the result joins the text in the query.

    Example:
        >>> from clplat.testing.tiny import tiny_backbone
        >>> composer = XPool()
        >>> composer.attach(Towers(tiny_backbone()))
        >>> sum(p.numel() for p in composer.parameters()) == 5 * 24 * 24 + (4 + 3 * 2) * 24
        True
    """

    wants: ClassVar[Mapping[str, frozenset[str]]] = {
        "image": frozenset({"tokens"}),
        "text": frozenset({"pooled"}),
    }

    def __init__(self, dropout: Annotated[float, Float(0.0, 0.7)] = 0.3) -> None:
        super().__init__()
        if not 0.0 <= dropout < 1.0:
            raise ValueError(f"dropout must lie in [0, 1), not {dropout}")
        self.dropout = dropout

    def attach(self, towers: Towers) -> None:
        """Make the layers for the joint space; nothing is drawn."""
        self.towers = towers
        self.query, self.value, self.output, self.linear = (_identity(towers.joint) for _ in range(4))
        self.key = _identity(towers.joint, bias=False)  # the softmax would take a bias away
        self.norm_in, self.norm_attended, self.norm_out = (nn.LayerNorm(towers.joint) for _ in range(3))

    def forward(self, image: ImageFeatures, text: TextFeatures) -> Tensor:
        """Return (B, D), not normalised."""
        assert image.tokens is not None
        patches = self.norm_in(self.towers.joint_patches(image.tokens))
        query = self.query(self.norm_in(text.pooled))
        scores = (self.key(patches) @ query[..., None])[..., 0] / math.sqrt(query.shape[-1])
        attended = self.output((scores.softmax(dim=1)[..., None] * self.value(patches)).sum(dim=1))
        attended = self.norm_attended(attended)
        linear = nn.functional.dropout(self.linear(attended), self.dropout, self.training)
        out = self.norm_out(attended + linear)
        return nn.functional.normalize(text.pooled, dim=-1) + nn.functional.normalize(out, dim=-1)


def _identity(width: int, bias: bool = True) -> nn.Linear:
    make: Callable[..., nn.Linear] = nn.utils.skip_init  # nothing is drawn
    layer = make(nn.Linear, width, width, bias=bias)
    nn.init.eye_(layer.weight)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer
