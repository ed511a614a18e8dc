"""What PEFT keeps of decompositions and of random orders, without the rest that it computes and drops.

Attaching PiSSA to a ViT-L/14 takes 216 whole singular value decompositions, of which eight triplets each are
kept; SHiRA draws 216 random orders of up to four million numbers, from generators of one seed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from clplat.randomness import generator

__all__ = ["SMALL", "Economy", "Kept", "economy", "leading", "least"]

#: What is kept of the layers' weights: leading or least singular triplets, or the first columns of a QR.
Kept: TypeAlias = Literal["leading", "least", "first columns"]
#: Up to this width decompositions are made whole: the iterations would not be faster.
SMALL = 256
#: Directions that are iterated beside those that are kept, and passes over a matrix and its transpose.
_MORE, _STEPS = 8, 4
#: Below this share of the largest singular value, float32 does not hold its square beside the largest's.
_FLAT = 1e-2


def leading(matrix: Tensor, rank: int) -> tuple[Tensor, Tensor, Tensor]:
    """About the ``rank`` leading singular triplets (U, S, V^T), by subspace iteration from a fixed start.

    The error of a direction falls with the eighth power of the ratio of its singular value and that of
    direction ``rank + 9``: trained weights, whose values fall steeply, have theirs to rounding, a flat
    spectrum as that of random numbers has directions of nearly the largest values.

    Example:
        >>> left, values, right = leading(torch.diag(torch.tensor([1.0, 5.0, 2.0])), 1)
        >>> round(values.item(), 3), [round(abs(x), 3) for x in right[0].tolist()]
        (5.0, [0.0, 1.0, 0.0])
    """
    tall = _tall(matrix)
    found = _start(tall, rank)
    for _ in range(_STEPS):
        found = torch.linalg.qr(tall.T @ (tall @ found)).Q
    left, values, right = torch.linalg.svd(tall @ found, full_matrices=False)
    return _as_given(matrix, left[:, :rank], values[:rank], (right @ found.T)[:rank])


def least(matrix: Tensor, rank: int) -> tuple[Tensor, Tensor, Tensor]:
    """About the ``rank`` least singular triplets (U, S, V^T), the least last, by inverse iteration.

    As `leading`, of the inverse. Of square matrices the LU factors are used, of others the Cholesky factor of
    ``W^T W``; a matrix that float32 cannot invert is decomposed whole.
    """
    tall = _tall(matrix)
    square = tall.shape[0] == tall.shape[1]
    solve, found = (_by_lu if square else _by_cholesky)(tall), _start(tall, rank)
    if solve is not None:
        for _ in range(_STEPS):
            found = torch.linalg.qr(solve(found)).Q
    if solve is not None and bool(torch.isfinite(found).all()):
        left, values, right = torch.linalg.svd(tall @ found, full_matrices=False)
        flat = 0.0 if square else _FLAT * float(torch.linalg.matrix_norm(tall)) / tall.shape[1] ** 0.5
        if float(values[-1]) > flat:
            return _as_given(matrix, left[:, -rank:], values[-rank:], (right @ found.T)[-rank:])
    whole = torch.linalg.svd(matrix, full_matrices=False)
    return whole.U[:, -rank:], whole.S[-rank:], whole.Vh[-rank:]


@contextmanager
def economy(kept: Kept | None, rank: object) -> Iterator[Economy]:
    """PEFT wraps layers in here: decompositions give what is kept, and no order is drawn twice.

    Args:
        kept: what the method keeps of a weight; None: its decompositions are made whole.
        rank: how many directions.
    """
    made = Economy(kept if isinstance(rank, int) else None, rank if isinstance(rank, int) else 0)
    with made, _replaced(made):
        yield made


class Economy(TorchFunctionMode):
    """Calls of ``torch.linalg.svd``, ``torch.linalg.qr`` and ``torch.randperm`` in this thread.

    Attributes:
        iterated: whether singular triplets were found by iteration.
    """

    def __init__(self, kept: Kept | None, rank: int) -> None:
        super().__init__()
        self.kept, self.rank, self.iterated = kept, rank, False
        self.drawn: dict[tuple[int, bytes], tuple[Tensor, Tensor]] = {}

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is torch.randperm and set(kwargs) == {"generator"} and kwargs["generator"] is not None:
            return self._order(args[0], kwargs["generator"])
        if func in (torch.linalg.svd, torch.linalg.qr) and self.shortens(args[0]):
            if func is torch.linalg.svd and self.kept in ("leading", "least"):
                self.iterated = True
                return (leading if self.kept == "leading" else least)(args[0], self.rank)
            if func is torch.linalg.qr and self.kept == "first columns":
                # Reflections of the first columns come first, so that these are the rows of the whole one.
                first = torch.linalg.qr(args[0][:, : self.rank]).Q
                return first, first.T @ args[0]
        return func(*args, **kwargs)

    def shortens(self, matrix: Tensor) -> bool:
        """Whether it is so wide that less than all of its directions take less time."""
        return matrix.ndim == 2 and min(matrix.shape) > max(SMALL, 4 * self.rank)

    def _order(self, length: int, draw: torch.Generator) -> Tensor:
        key = length, draw.get_state().numpy().tobytes()
        if key not in self.drawn:
            self.drawn[key] = torch.randperm(length, generator=draw), draw.get_state()
        order, after = self.drawn[key]
        draw.set_state(after)
        return order


@contextmanager
def _replaced(made: Economy) -> Iterator[None]:
    """What PEFT computes by longer ways: KaSA's weights, BOFT's matrices of permutations."""
    from peft.tuners.boft.layer import BOFTLayer
    from peft.tuners.lora.variants import KasaLinearVariant

    def truncate(module: Any, r: int) -> tuple[Tensor, Tensor]:
        """The least directions are subtracted; PEFT sums all others."""
        weight = module.get_base_layer().weight
        if not made.shortens(weight):
            return before(module, r)
        left, values, right = torch.linalg.svd(weight.detach().float(), full_matrices=False)
        dropped = left[:, -r:] * values[-r:], right[-r:]
        kept = weight.detach().float() - dropped[0] @ dropped[1]
        module.get_base_layer().weight.data = kept.to(weight.dtype)
        return dropped

    def permutation(_: Any, indices: Tensor) -> Tensor:
        """PEFT sets one entry after the other."""
        return torch.eye(len(indices))[torch.as_tensor(indices)]

    before: Callable[[Any, int], tuple[Tensor, Tensor]] = KasaLinearVariant._truncate_base_weight
    own: Any = BOFTLayer.perm2mat
    KasaLinearVariant._truncate_base_weight = staticmethod(truncate)
    BOFTLayer.perm2mat = permutation
    try:
        yield
    finally:
        KasaLinearVariant._truncate_base_weight = staticmethod(before)
        BOFTLayer.perm2mat = own


def _tall(matrix: Tensor) -> Tensor:
    return matrix if matrix.shape[0] >= matrix.shape[1] else matrix.T


def _as_given(matrix: Tensor, left: Tensor, values: Tensor, right: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The triplets of the tall one, of a matrix that may be its transpose."""
    return (left, values, right) if matrix.shape[0] >= matrix.shape[1] else (right.T, values, left.T)


def _start(tall: Tensor, rank: int) -> Tensor:
    """The same for all matrices of this width, so that a weight has one decomposition."""
    width = tall.shape[1]
    draw = generator(0, "subspace", width)
    return torch.randn(width, min(rank + _MORE, width), generator=draw).to(tall)


def _gram(tall: Tensor) -> Tensor:
    """The lower half of ``W^T W``, which is all that is read of it."""
    blocks = torch.split(tall, SMALL, dim=1)
    rows = [block.T @ tall[:, : SMALL * (place + 1)] for place, block in enumerate(blocks)]
    return torch.cat([nn.functional.pad(row, (0, tall.shape[1] - row.shape[1])) for row in rows])


def _by_lu(square: Tensor) -> Callable[[Tensor], Tensor] | None:
    """``x -> (W^T W)^-1 x``; None: it is singular."""
    factors, pivots, failed = torch.linalg.lu_factor_ex(square)
    if bool(failed):
        return None
    lu = torch.linalg.lu_solve
    return lambda x: lu(factors, pivots, lu(factors, pivots, x, adjoint=True))


def _by_cholesky(tall: Tensor) -> Callable[[Tensor], Tensor] | None:
    factor, failed = torch.linalg.cholesky_ex(_gram(tall))
    if bool(failed):
        return None
    return lambda x: torch.cholesky_solve(x, factor)
