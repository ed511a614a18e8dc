"""Sums over a bank for every row of a gallery, in blocks: no matrix of gallery times bank is held."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag, normalize

from clplat.mechanisms.equal_rows import first_of_equals, same_for_equals

__all__ = ["away_from", "away_from_nearest", "log_sums", "nearest"]

#: Numbers that are held at once: 4 or 8 MiB stay in a cache.
_CELLS = 1 << 20


def log_sums(
    rows: Tensor, bank: Tensor, beta: float, *, watch: Callable[[int, Tensor], None] | None = None
) -> Tensor:
    """``log sum_b exp(beta b . x)`` over a bank (B, D) for every row x (N, D): (N,), float64.

    The denominator of the inverted softmax. Products are of single precision, so that a sum over beta is as
    exact as a score in float32; equal rows get equal sums, and ties of equal pictures stay ties.

    Args:
        rows: (N, D), bank: (B, D), beta: see there.
        watch: gets the first row of each block and its similarities times beta (n, B).

    Example:
        >>> log_sums(torch.eye(2), torch.tensor([[0.0, 0.0], [0.0, 1.0]]), beta=1.0).exp().round(decimals=3)
        tensor([2.0000, 3.7180], dtype=torch.float64)
    """
    wide = (beta * bank.double()).float()
    reach, found, start = float(wide.norm(dim=1).amax()), [], 0
    for block, scores in _products(rows.float(), wide):
        if watch is not None:
            watch(start, scores)
        start += len(block)
        # Without taking the largest out first, where nothing can overflow or vanish: one pass for three.
        safe = reach * float(block.norm(dim=1).amax()) < 60.0
        found.append(scores.exp_().sum(1).double().log_() if safe else scores.double().logsumexp(1))
    return same_for_equals(torch.cat(found), first_of_equals(rows.float()))


def nearest(queries: Tensor, gallery: Tensor, k: int = 1, exclude: Tensor | None = None) -> Tensor:
    """The k best gallery rows (Q, k) of each query by inner products; fewer where the gallery is smaller.

    Args:
        queries: (Q, D).
        gallery: (G, D).
        k: rows.
        exclude: rows (Q, E) that each may not find, padded with -1.

    Example:
        >>> nearest(torch.eye(2), torch.eye(2), exclude=torch.tensor([[0], [-1]]))
        tensor([[1],
                [1]])
    """
    k, few = min(k, len(gallery)), min(k + 4, len(gallery))
    scores = torch.empty(len(queries), 0)
    found = torch.empty(len(queries), 0, dtype=torch.long)
    single, start = queries.float(), 0
    for block in _blocks(gallery, len(queries)):
        new = single @ block.float().T
        if exclude is not None:
            inside = (exclude >= start) & (exclude < start + len(block))
            who, entry = inside.nonzero(as_tuple=True)
            new[who, exclude[who, entry] - start] = -torch.inf
        best, places = new.topk(min(few, len(block)), dim=1)
        scores, found = torch.cat([scores, best], 1), torch.cat([found, places + start], 1)
        scores, order = scores.topk(min(few, scores.shape[1]), dim=1)
        found, start = found.gather(1, order), start + len(block)
    # The product in single precision finds a few, and the order among them is that of exact sums.
    found, order = found.sort(dim=1)
    exact = torch.einsum("qd,qkd->qk", queries.double(), gallery[found].double())
    exact = exact.masked_fill(scores.gather(1, order) == -torch.inf, -torch.inf)
    return found.gather(1, exact.argsort(dim=1, descending=True, stable=True)[:, :k])


def away_from(rows: Tensor, bank: Tensor, rate: float, baseline: float) -> Tensor:
    """Unit rows of ``x - rate / B sum_b (x . b - baseline) b``: x moved away from what it is near to.

    The sum is ``x M - baseline m`` with the second moment M (D, D) and the mean m of the bank, which costs as
    much for a bank of any size.

    Example:
        >>> away_from(torch.eye(2), torch.tensor([[1.0, 0.0]]), rate=0.5, baseline=1.0)  # as near as expected
        tensor([[1.0000, 0.0000],
                [0.4472, 0.8944]])
    """
    wide = bank.double()
    # x - rate (x M - baseline m), in one product
    linear = torch.eye(wide.shape[1]).double() - rate * (wide.T @ wide) / len(bank)
    shift = rate * baseline * wide.mean(0)
    blocks = map(Tensor.double, _blocks(rows, wide.shape[1]))
    return torch.cat([normalize(torch.addmm(shift, x, linear), dim=1).float() for x in blocks])


def away_from_nearest(rows: Tensor, bank: Tensor, rate: float, count: int) -> Tensor:
    """Unit rows of ``x - rate / count sum_b (x . b) b`` over the ``count`` rows b of the bank nearest to x.

    Which they are is decided in single precision where that is sure, and in double where it is not.

    Example:
        >>> away_from_nearest(torch.eye(2)[:1], torch.tensor([[0.8, 0.6], [0.6, 0.8]]), rate=0.5, count=1)
        tensor([[ 0.9430, -0.3328]])
    """
    single, count = bank.float(), max(1, min(count, len(bank)))
    error = 2.0 * (bank.shape[1] + 8) * torch.finfo(torch.float32).eps * single.norm(dim=1).amax()
    moved = []
    for block, scores in _products(rows.float(), single):
        weights, which = scores.topk(min(count + 1, len(bank)), dim=1)
        unsure = weights[:, count - 1] - weights[:, -1] <= error * block.norm(dim=1)
        weights, which = weights[:, :count].contiguous(), which[:, :count].contiguous()
        near = embedding_bag(which, single, mode="sum", per_sample_weights=weights)
        made = normalize(block - rate / count * near, dim=1)
        if count < len(bank) and unsure.any():
            made[unsure] = _surely_away(block[unsure], bank, rate, count)
        moved.append(made)
    return torch.cat(moved)


def _surely_away(rows: Tensor, bank: Tensor, rate: float, count: int) -> Tensor:
    """The same in float64."""
    wide = bank.double()
    weights, which = (rows.double() @ wide.T).topk(count, dim=1)
    near = torch.einsum("nk,nkd->nd", weights, wide[which])
    return normalize(rows.double() - rate / count * near, dim=1).float()


def _products(rows: Tensor, bank: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Blocks of rows (n, D) and their products (n, B) with a bank, which the next block overwrites."""
    held: Tensor | None = None
    for block in _blocks(rows, len(bank)):
        held = torch.empty(len(block), len(bank)) if held is None else held[: len(block)]
        yield block, torch.mm(block, bank.T, out=held)


def _blocks(rows: Tensor, width: int) -> Iterator[Tensor]:
    """Slices of rows, such that a matrix of a slice times ``width`` stays small."""
    return iter(torch.split(rows, max(1, _CELLS // max(1, width))))
