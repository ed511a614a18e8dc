"""Bottlenecks at layers of a transformer's blocks: a narrow MLP behind a branch or beside it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clplat.mechanisms.growth import Change

__all__ = ["Bottleneck", "Form", "KroneckerLinear", "Noted", "RankLinear", "kronecker_rule"]

_ACTIVATIONS = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU, "none": nn.Identity}


@dataclass(frozen=True)
class Form:
    """How a bottleneck is made.

    Args:
        size: width in the middle.
        activation: there.
        weights: a matrix each way; sums of Kronecker products; products of low rank.
        n: number of those products, and the size of their left factors.
        inner: rank of the right factors of those products, or of the low-rank matrices.
        norm: a LayerNorm before the way down, behind the way up, or none.
        scale: by which what it makes is multiplied; learned: a trained number that begins there.
        dropout: in the middle, in training.

    Raises:
        ValueError: a size below 1, a scale of 0, another word, a dropout outside [0, 1).
    """

    size: int = 32
    activation: Literal["relu", "gelu", "silu", "none"] = "relu"
    weights: Literal["dense", "kronecker", "low_rank"] = "dense"
    n: int = 4
    inner: int = 1
    norm: Literal["none", "in", "out"] = "none"
    scale: float = 1.0
    learned: bool = False
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if min(self.size, self.n, self.inner) < 1:
            raise ValueError(
                f"size, n and inner must be at least 1, not {self.size}, {self.n} and {self.inner}"
            )
        if not 0 < abs(self.scale) < math.inf or not 0 <= self.dropout < 1:
            raise ValueError(
                f"scale must be a number other than 0 and dropout in [0, 1), "
                f"not {self.scale} and {self.dropout}"
            )
        for name, allowed in (
            ("activation", tuple(_ACTIVATIONS)),
            ("weights", ("dense", "kronecker", "low_rank")),
            ("norm", ("none", "in", "out")),
        ):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} is '{getattr(self, name)}'; allowed: {', '.join(allowed)}")

    def layer(self, wide: int, out: int, rule: nn.Parameter | None) -> nn.Module:
        """A linear layer of these weights, drawn from torch's generator, with a bias of zero."""
        if self.weights == "kronecker":
            return KroneckerLinear(wide, out, self.n, self.inner, rule)
        if self.weights == "low_rank":
            return RankLinear(wide, out, self.inner)
        made = nn.Linear(wide, out)  # Kaiming with a = sqrt(5), as LoRA's A
        nn.init.zeros_(made.bias)
        return made


class Bottleneck(Change):
    """``s U f(D h)``, added to a branch of a block; h is what the branch makes or what it reads.

    ==========  =========  ===================================
    path        residual   what becomes of the branch's output
    ==========  =========  ===================================
    sequential  yes        ``o + s U f(D o)``
    sequential  no         ``s U f(D o)``
    parallel    no         ``o + s U f(D x)``
    parallel    yes        ``o + s U f(D x) + x``
    ==========  =========  ===================================

    The last factor of U is zero at first (with a norm behind U, the norm's weights), D is not: where both
    are, neither has a gradient.

    Args:
        width: of the branch.
        form: of the bottleneck.
        sequential: the path.
        residual: as above.
        note: where what it reads is noted; by default it reads the input of the layer at which it stands.
        rule: shared left factors of Kronecker products.

    Example:
        >>> bottleneck = Bottleneck(4, Form(size=2), sequential=True, residual=True)
        >>> bool((bottleneck.after(torch.ones(1, 4), torch.ones(1, 4)) == 1).all())
        True
    """

    def __init__(
        self,
        width: int,
        form: Form,
        *,
        sequential: bool,
        residual: bool,
        note: Noted | None = None,
        rule: nn.Parameter | None = None,
    ) -> None:
        super().__init__()
        self.sequential, self.residual = sequential, residual
        self._note = (note,)  # in a tuple: it belongs to the layer at which it notes
        self.before = nn.LayerNorm(width) if form.norm == "in" else nn.Identity()
        self.down: Any = form.layer(width, form.size, rule)
        self.act, self.drop = _ACTIVATIONS[form.activation](), nn.Dropout(form.dropout)
        self.up: Any = form.layer(form.size, width, rule)
        self.behind: Any = nn.LayerNorm(width) if form.norm == "out" else nn.Identity()
        last: Any = _last(self.up) if form.norm != "out" else self.behind.weight
        nn.init.zeros_(last)
        if form.learned:
            self.scale: Any = nn.Parameter(torch.tensor(form.scale))
        else:
            self.scale = form.scale

    def forward(self, h: Tensor) -> Tensor:
        """What it makes of (..., width)."""
        made = self.behind(self.up(self.drop(self.act(self.down(self.before(h))))))
        scale = self.scale.to(made.dtype) if isinstance(self.scale, Tensor) else self.scale
        out: Tensor = scale * made
        return out

    def after(self, x: Tensor, out: Tensor, **more: Any) -> Tensor:
        """What becomes of a branch's output."""
        if self.sequential:
            made: Tensor = self(out)
            return out + made if self.residual else made
        read = x if self._note[0] is None else self._note[0].take()
        kept = out + read if self.residual else out
        return kept + self.forward(read)


class Noted(Change):
    """What a layer reads, kept until a bottleneck behind another layer of the block reads it."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: Tensor | None = None

    def after(self, x: Tensor, out: Tensor, **more: Any) -> Tensor:
        self._seen = x
        return out

    def take(self) -> Tensor:
        """What was read last, once."""
        assert self._seen is not None
        seen, self._seen = self._seen, None
        return seen


class KroneckerLinear(nn.Module):
    """A linear layer with the weight ``sum_i A_i kron (S_i T_i)``, i = 1..n: a hypercomplex multiplication.

    A_i are (n, n), S_i (in / n, rank), T_i (rank, out / n); the weight is (in, out).

    Args:
        wide: in; out: width of what it makes; both divisible by n.
        n: of the sum; rank: of the right factors.
        rule: the A (n, n, n), of several layers; its own otherwise.

    Raises:
        ValueError: a width that n does not divide.

    Reference:
        Karimi Mahabadi et al., "Compacter: Efficient Low-Rank Hypercomplex Adapter Layers", NeurIPS 2021,
        arXiv:2106.04647.

    Example:
        >>> KroneckerLinear(8, 4, n=2, rank=1)(torch.ones(3, 8)).shape
        torch.Size([3, 4])
    """

    def __init__(self, wide: int, out: int, n: int, rank: int, rule: nn.Parameter | None = None) -> None:
        super().__init__()
        if wide % n or out % n:
            raise ValueError(f"n must divide both widths, {wide} and {out}; it is {n}")
        self.rule = kronecker_rule(n) if rule is None else rule
        self.left = nn.Parameter(_glorot(n, wide // n, rank))
        self.right = nn.Parameter(_glorot(n, rank, out // n))
        self.bias = nn.Parameter(torch.zeros(out))

    def weight(self) -> Tensor:
        """(in, out)."""
        n = len(self.rule)
        parts = torch.einsum("iab,icd->acbd", self.rule, self.left @ self.right)
        return parts.reshape(n * self.left.shape[1], n * self.right.shape[2])

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight().T, self.bias)


class RankLinear(nn.Module):
    """A linear layer with a weight of low rank, ``L R``: the low-rank adapter beside Compacter.

    Args:
        wide: width of what it reads; out: of what it makes; rank: of its weight.

    Example:
        >>> RankLinear(8, 4, rank=2)(torch.ones(3, 8)).shape
        torch.Size([3, 4])
    """

    def __init__(self, wide: int, out: int, rank: int) -> None:
        super().__init__()
        self.left, self.right = (
            nn.Parameter(_glorot(1, wide, rank)[0]),
            nn.Parameter(_glorot(1, rank, out)[0]),
        )
        self.bias = nn.Parameter(torch.zeros(out))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.left @ self.right + self.bias


def kronecker_rule(n: int) -> nn.Parameter:
    """Left factors (n, n, n) of sums of Kronecker products, for several layers."""
    return nn.Parameter(torch.randn(n, n, n) / n)


def _last(layer: Any) -> Tensor:
    """The factor of a layer's weight that decides last; zero, the layer makes nothing."""
    found: Tensor = layer.weight if isinstance(layer, nn.Linear) else layer.right
    return found


def _glorot(count: int, rows: int, columns: int) -> Tensor:
    bound = math.sqrt(2) * math.sqrt(6 / (rows + columns))
    return (2 * torch.rand(count, rows, columns) - 1) * bound
