"""Codes against a search by hand, bytes, and that queries are not rounded."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import normalize

from clplat.mechanisms.product_codes import codebooks, codes_of, decoded
from clplat.parts.postprocessors import Quantised
from clplat.parts.postprocessors._base import Banks, Scored
from clplat.randomness import generator

DRAW = generator(0, "quantised")
BANK, GALLERY, QUERIES = (normalize(torch.randn(n, 7, generator=DRAW), dim=1) for n in (30, 11, 4))


def test_a_row_is_its_nearest_centres_piece_by_piece() -> None:
    books = codebooks(BANK, parts=3, codes=4, rounds=5, seed=0)
    assert [tuple(book.shape) for book in books] == [(4, 3), (4, 2), (4, 2)]
    codes = codes_of(GALLERY, books)
    assert codes.dtype == torch.uint8 and codes.shape == (11, 3), "three bytes a row"
    back = decoded(codes, books)
    for row, code, got in zip(GALLERY.double(), codes.tolist(), back, strict=True):
        start = 0
        for book, chosen in zip(books, code, strict=True):
            piece = row[start : start + book.shape[1]]
            apart = [float((piece - centre).square().sum()) for centre in book.double()]
            assert chosen == min(range(4), key=lambda c: apart[c])
            assert torch.equal(got[start : start + book.shape[1]], book[chosen])
            start += book.shape[1]


def test_centres_are_the_means_of_their_rows() -> None:
    [book] = codebooks(BANK[:, :2], parts=1, codes=3, rounds=50, seed=0)
    own = codes_of(BANK[:, :2], [book])[:, 0]
    for c in range(3):
        assert torch.allclose(book[c], BANK[own == c, :2].mean(0), atol=1e-5)


def test_more_codes_lose_less_and_queries_lose_nothing() -> None:
    lost = []
    for codes in (2, 30):
        part = Quantised(parts=2, codes=codes)
        part.fit(Banks(QUERIES, BANK))
        asked, held = part.map(Scored(QUERIES), Scored(BANK))
        assert torch.equal(asked, QUERIES)
        lost.append(float((held - BANK).norm()))
    assert lost[1] < 1e-5 < lost[0], "with a centre for each row of the bank it is exact"


@pytest.mark.parametrize("wrong", [{"parts": 0}, {"codes": 257}, {"rounds": 0}])
def test_what_cannot_be_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="needs parts and rounds"):
        Quantised(**wrong)
