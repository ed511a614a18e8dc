"""R^2-Tuning: one small block goes from a tower's last layer to earlier ones, and the text steers it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from clplat.config.space import Choice, Float, Int
from clplat.errors import UserError
from clplat.mechanisms.attention import CrossLayer
from clplat.mechanisms.side_networks import Recurrence, chosen_layers
from clplat.models.features import ImageFeatures, TextFeatures
from clplat.models.view import Towers
from clplat.parts.composers._base import Composer

__all__ = ["CoarseToFine"]


class CoarseToFine(Composer):
    """``q = n(r) + n(t) + W h``, h a readout of the reference's layers that the text conditions.

    From the last layer of both towers to earlier ones, with V the picture's rows at a layer (class token
    first) and T the text's, each through a map that all layers share:

    * ``o = max_t (softmax(A T (B V)' / sqrt(d)) V + T)``: what the words find, the most of it;
    * ``z = V_0 + tanh(s_i) o``, s_i a number for each layer, zero at first;
    * ``h <- f((1 - g_i) z + g_i h, T)``, f one block for all layers, which attends to the words.

    With ``reads="states"`` a layer has one row, what the tower pools from: o is V + T then, and f attends to
    the text's rows of all those layers. States of frozen towers are kept, so that a step runs none; patches
    of all layers are not, and are computed without gradients. W is zero at first: the sum.

    Args:
        reads: what of a layer.
        last: this many last layers.
        width: d.
        heads: of the block's attention, at most.
        dropout: in the maps and the block, in training.

    Raises:
        ValueError: a size below 1, a dropout outside [0, 1), another word.

    What is trained: maps and block, about ``width * (2 * (W_image + W_text) + 18 * width)`` numbers.

    Reference:
        Liu et al., "R^2-Tuning: Efficient Image-to-Video Transfer Learning for Video Temporal Grounding",
        ECCV 2024, arXiv:2404.00801.

    Example:
        >>> from clplat.testing.tiny import tiny_backbone
        >>> composer = CoarseToFine(width=8, heads=2)
        >>> composer.attach(Towers(tiny_backbone()))
        >>> composer.layers
        [(1, 1), (0, 0)]
    """

    def __init__(
        self,
        reads: Annotated[Literal["states", "patches"], Choice("states", "patches")] = "states",
        last: Annotated[int, Int(1, 8)] = 4,
        width: Annotated[int, Int(64, 1024, log=True)] = 128,
        heads: int = 4,
        dropout: Annotated[float, Float(0.0, 0.5)] = 0.1,
    ) -> None:
        super().__init__()
        if reads not in ("states", "patches"):
            raise ValueError(f"reads is '{reads}'; allowed: states, patches")
        if min(last, width, heads) < 1 or not 0.0 <= dropout < 1.0:
            raise ValueError(
                f"needs last, width and heads >= 1 and 0 <= dropout < 1, "
                f"not {last}, {width}, {heads} and {dropout}"
            )
        self.reads, self.last, self.width, self.heads, self.dropout = reads, last, width, heads, dropout
        wants = frozenset({"pooled", "states" if reads == "states" else "hidden"})
        self.wants: Mapping[str, frozenset[str]] = {"image": wants, "text": wants}  # type: ignore[misc]

    def attach(self, towers: Towers) -> None:
        """Draw maps and block.

        Raises:
            UserError: an opaque tower has no layers.
        """
        if not (towers.image_layers and towers.text_layers):
            raise UserError("coarse_to_fine needs layers of both towers, which one of them does not show")
        pairs = zip(
            chosen_layers(towers.image_layers, last=self.last)[::-1],
            chosen_layers(towers.text_layers, last=self.last)[::-1],
            strict=False,
        )
        self.layers, width = list(pairs), self.width
        self.picture_map, self.query_map = (
            nn.Sequential(
                *(nn.LayerNorm(wide), nn.Dropout(self.dropout), nn.Linear(wide, width), nn.ReLU()),
                *(nn.LayerNorm(width), nn.Dropout(self.dropout), nn.Linear(width, width)),
            )
            for wide in (towers.image_tokens, towers.text_tokens)
        )
        if self.reads == "patches":  # the softmax over one row is 1
            self.shown, self.asked = nn.Linear(width, width), nn.Linear(width, width)
        self.scales = nn.Parameter(torch.zeros(len(self.layers)))
        self.steps = Recurrence(
            len(self.layers), width, lambda: CrossLayer(width, self.heads, self.dropout), shared=True
        )
        self.out = nn.Linear(width, towers.joint)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, image: ImageFeatures, text: TextFeatures) -> Tensor:
        """Return (B, D), not normalised."""
        steps: list[Tensor] = []
        said: list[Tensor] = []
        absent = self._absent(text)
        for (shown, told), scale in zip(self.layers, self.scales, strict=True):
            v = self.picture_map(self._rows(image, shown))
            t = self.query_map(self._rows(text, told))
            steps.append(v[:, :1] + torch.tanh(scale) * self.found(v, t, absent))
            said.append(t)
        if self.reads == "states":  # of one row alone, f would attend to it whatever h is
            said = [torch.cat(said, dim=1)] * len(said)
        words = [(t, None, absent) for t in said]
        read: Tensor = self.out(self.steps(steps, words)[:, 0])
        return normalize(image.pooled, dim=-1) + normalize(text.pooled, dim=-1) + read

    def found(self, v: Tensor, t: Tensor, absent: Tensor | None) -> Tensor:
        """The o (B, 1, width) of rows of a picture and of a text."""
        if self.reads == "states":
            return v + t
        shares = (self.asked(t) @ self.shown(v).transpose(1, 2) / self.width**0.5).softmax(-1)
        o: Tensor = shares @ v + t
        if absent is not None:
            o = o.masked_fill(absent[..., None], float("-inf"))
        return o.amax(dim=1, keepdim=True)

    def _rows(self, found: ImageFeatures | TextFeatures, layer: int) -> Tensor:
        """The rows (B, N, W) of a layer."""
        if self.reads == "patches":
            return found.hidden[layer].to(self.scales.dtype)
        assert found.states is not None
        return found.states[:, layer : layer + 1].to(self.scales.dtype)

    def _absent(self, text: TextFeatures) -> Tensor | None:
        """Which rows (B, N) of a text are padding."""
        if self.reads == "states":
            return None
        assert text.ends is not None
        places = torch.arange(text.hidden[0].shape[1], device=text.ends.device)
        return places > text.ends[:, None]
