"""Vectors as codes: each piece of one is the nearest of a few centres (product quantisation)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from clplat.mechanisms.memory.coresets import k_means
from clplat.randomness import generator

__all__ = ["codebooks", "codes_of", "decoded"]


def codebooks(rows: Tensor, parts: int, codes: int, rounds: int, seed: int) -> list[Tensor]:
    """Centres (C, D / parts) of each piece of rows (N, D), by k-means from drawn rows; C at most ``codes``.

    Pieces differ by one in width where D is no multiple of ``parts``.
    """
    draw = generator(seed, "codebooks", parts, codes)
    start = torch.randperm(len(rows), generator=draw)[:codes]
    pieces = torch.tensor_split(rows, min(parts, rows.shape[1]), dim=1)
    return [k_means(piece, len(start), draw, rounds, start=piece[start])[1] for piece in pieces]


def codes_of(rows: Tensor, books: Sequence[Tensor]) -> Tensor:
    """The nearest centre (N, parts) of each piece of rows (N, D), in bytes."""
    pieces = torch.split(rows, [book.shape[1] for book in books], dim=1)
    return torch.stack([_nearest(piece, book) for piece, book in zip(pieces, books, strict=True)], 1).byte()


def decoded(codes: Tensor, books: Sequence[Tensor]) -> Tensor:
    """The rows (N, D) that codes (N, parts) stand for.

    Example:
        >>> books = [torch.tensor([[0.0], [1.0]]), torch.tensor([[5.0], [6.0]])]
        >>> decoded(codes_of(torch.tensor([[0.8, 5.1]]), books), books)
        tensor([[1., 5.]])
    """
    return torch.cat([book[code.long()] for book, code in zip(books, codes.T, strict=True)], 1)


def _nearest(rows: Tensor, centres: Tensor) -> Tensor:
    """The nearest centre (N,) of each row: of ``|c|^2 / 2 - x . c`` the least, in blocks."""
    half = centres.square().sum(1) / 2
    return torch.cat([(half - block @ centres.T).argmin(1) for block in torch.split(rows, 1 << 14)])
