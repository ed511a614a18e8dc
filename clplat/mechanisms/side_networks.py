"""Small networks beside a frozen tower, which read what it kept: states of its layers, or tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["LayerReader", "Recurrence", "Residual", "chosen_layers", "masked_mean"]


def chosen_layers(count: int, every: int = 1, last: int | None = None) -> list[int]:
    """Of ``count`` layers the ``last`` ones, each ``every``-th of them, the very last among them.

    Example:
        >>> chosen_layers(12, every=4), chosen_layers(12, last=3)
        ([3, 7, 11], [9, 10, 11])
    """
    layers = list(range(count))[-last if last is not None else 0 :]
    return layers[::-1][::every][::-1]


def masked_mean(tokens: Tensor, ends: Tensor | None) -> Tensor:
    """The mean (B, W) of tokens (B, N, W), of texts up to their EOT at ``ends`` (B,).

    Example:
        >>> masked_mean(torch.tensor([[[1.0], [3.0], [9.0]]]), torch.tensor([1])).tolist()
        [[2.0]]
    """
    if ends is None:
        return tokens.mean(dim=1)
    there = (torch.arange(tokens.shape[1], device=ends.device) <= ends[:, None]).to(tokens.dtype)
    return (tokens * there[..., None]).sum(dim=1) / there.sum(dim=1, keepdim=True)


class Recurrence(nn.Module):
    """One state that goes from layer to layer of a tower: ``h <- f_i(g_i h + (1 - g_i) z_i)``, h = f_0(z_0).

    z_i is what is made of the layer that comes i-th.

    =============  ================================================================================
    gate           g
    =============  ================================================================================
    learned        ``sigmoid(a_i / T)``, a_i a number for each layer, zero at first
    confidence     ``sigmoid(w . (h * z_i) / T)``, of this very input; w zero at first
    sum            none: ``h + z_i``
    =============  ================================================================================

    Args:
        steps: number of layers.
        width: of h and z.
        block: makes an f; called once where it is shared, else for every layer.
        gate: as above.
        temperature: T.
        shared: one f for all layers.

    Reference:
        Sung et al., "LST: Ladder Side-Tuning for Parameter and Memory Efficient Transfer Learning", NeurIPS
        2022, arXiv:2206.06522 (learned gates, a block for each layer); Liu et al., "R^2-Tuning", ECCV 2024,
        arXiv:2404.00801 (one block for all, from the last layer to earlier ones).

    Example:
        >>> recurrence = Recurrence(2, 3, nn.Identity)
        >>> recurrence([torch.zeros(1, 3), torch.ones(1, 3)]).tolist()
        [[0.5, 0.5, 0.5]]
    """

    def __init__(
        self,
        steps: int,
        width: int,
        block: Callable[[], nn.Module],
        gate: Literal["learned", "confidence", "sum"] = "learned",
        temperature: float = 1.0,
        shared: bool = False,
    ) -> None:
        super().__init__()
        self.gate, self.temperature = gate, temperature
        self.blocks = nn.ModuleList(block() for _ in range(1 if shared else steps))
        if gate != "sum" and steps > 1:
            self.weights = nn.Parameter(torch.zeros((steps - 1,) if gate == "learned" else (width,)))

    def forward(self, steps: Sequence[Tensor], more: Sequence[Sequence[object]] | None = None) -> Tensor:
        """The last h, of z (B, width) or (B, M, width) in order; ``more`` is what each f is given besides."""
        h = steps[0]
        for i, z in enumerate(steps):
            h = z if i == 0 else self._mixed(i - 1, h, z)
            h = self.blocks[min(i, len(self.blocks) - 1)](h, *(more[i] if more is not None else ()))
        return h

    def _mixed(self, i: int, h: Tensor, z: Tensor) -> Tensor:
        if self.gate == "sum":
            return h + z
        asked = self.weights[i] if self.gate == "learned" else (h * z) @ self.weights[:, None]
        share = torch.sigmoid(asked / self.temperature)
        return share * h + (1 - share) * z


class Residual(nn.Module):
    """``h + MLP(LN h)``: what a transformer's block is to a single token, but for its attention to itself.

    Args:
        width: of h; the hidden layer has ``ratio`` times as many units.

    Example:
        >>> Residual(4)(torch.ones(2, 4)).shape
        torch.Size([2, 4])
    """

    def __init__(self, width: int, ratio: int = 4) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, ratio * width), nn.GELU(), nn.Linear(ratio * width, width))

    def forward(self, h: Tensor) -> Tensor:
        made: Tensor = h + self.mlp(self.norm(h))
        return made


class LayerReader(nn.Module):
    """Queries that attend to a set of rows, and the mean of what they read: ``mean_q softmax(q K') V``.

    Args:
        wide: width of the rows; width: of queries and of what is read.
        queries: number of trained queries.
        places: number of rows, where each has a trained embedding of its own, added to its key; 0: none has.

    Example:
        >>> LayerReader(6, 4, queries=2, places=3)(torch.ones(5, 3, 6)).shape
        torch.Size([5, 4])
    """

    def __init__(self, wide: int, width: int, queries: int, places: int = 0) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(wide)
        self.queries = nn.Parameter(torch.randn(queries, width) / width**0.5)
        self.key, self.value = nn.Linear(wide, width, bias=False), nn.Linear(wide, width)
        self.register_parameter("places", nn.Parameter(torch.zeros(places, width)) if places else None)

    def forward(self, rows: Tensor, missing: Tensor | None = None) -> Tensor:
        """What is read (B, width) of rows (B, N, wide); ``missing`` (B, N) are none."""
        normed = self.norm(rows)
        keys = self.key(normed)
        if self.places is not None:
            keys = keys + self.places
        # A product of two and three dimensions takes another way, with other bits, once a factor is frozen.
        scores = F.linear(keys, self.queries).transpose(1, 2) / keys.shape[-1] ** 0.5
        if missing is not None:
            scores = scores.masked_fill(missing[:, None], float("-inf"))
        read: Tensor = (F.softmax(scores, dim=-1) @ self.value(normed)).mean(dim=1)
        return read
