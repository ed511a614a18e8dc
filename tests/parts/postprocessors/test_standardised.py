"""Means of sides, whitening and outliers row by row in float64, and the traps of each."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from clplat.mechanisms.bank_moments import covariance, whitening
from clplat.parts.postprocessors._base import Banks, Scored
from clplat.parts.postprocessors.standardised import Standardised
from clplat.randomness import generator


def side(name: str, count: int, centre: Tensor) -> Tensor:
    return normalize(centre + 0.4 * torch.randn(count, 4, generator=generator(0, name)), dim=1)


#: Two sides of a gap, and words on that of the queries.
ABOVE, BELOW = torch.tensor([1.0, 0.5, 0.0, 0.0]), torch.tensor([0.0, 0.5, 1.0, 0.0])
BANKS = Banks(side("q", 9, ABOVE), side("p", 8, BELOW), side("t", 7, ABOVE))
QUERIES, GALLERY = side("asked", 3, ABOVE), side("held", 5, BELOW)


def unit(x: Any) -> Any:
    return x / np.linalg.norm(x)


def test_each_side_loses_its_own_mean_and_a_row_of_both_kinds_loses_half_of_each() -> None:
    part = Standardised()
    part.fit(BANKS)
    words = torch.tensor([0.0, 1.0, 0.5, 0.0, 1.0])
    q, g = part.map(Scored(QUERIES), Scored(GALLERY, words=words))
    assert BANKS.texts is not None
    means = [bank.double().numpy().mean(0) for bank in (BANKS.queries, BANKS.pictures, BANKS.texts)]
    for i, row in enumerate(GALLERY.double().numpy()):
        centre = (1 - float(words[i])) * means[1] + float(words[i]) * means[2]
        assert np.allclose(g[i], unit(row - centre), atol=1e-6)
    for i, row in enumerate(QUERIES.double().numpy()):
        assert np.allclose(q[i], unit(row - means[0]), atol=1e-6)


def test_the_gap_is_gone() -> None:
    part = Standardised()
    part.fit(BANKS)
    before = float((QUERIES.mean(0) - GALLERY.mean(0)).norm())
    q, g = part.map(Scored(BANKS.queries), Scored(BANKS.pictures))
    assert float((q.mean(0) - g.mean(0)).norm()) < before / 3


@pytest.mark.parametrize("whiten", ["side", "both"])
def test_whitening_undoes_correlations(whiten: Any) -> None:
    part = Standardised(whiten=whiten, ridge=0.2)
    part.fit(BANKS)
    _, g = part.map(Scored(QUERIES), Scored(GALLERY))
    sides = [rows.double().numpy() for rows in (BANKS.queries, BANKS.pictures)]
    found = [np.cov(rows.T, bias=True) for rows in sides]
    matrix = found[1] if whiten == "side" else (found[0] + found[1]) / 2
    values, vectors = np.linalg.eigh(matrix + 0.2 * np.trace(matrix) / 4 * np.eye(4))
    map_ = vectors @ np.diag(values**-0.5) @ vectors.T
    for row, got in zip(GALLERY.double().numpy(), g, strict=True):
        assert np.allclose(got, unit((row - sides[1].mean(0)) @ map_), atol=1e-6)


def test_the_covariance_of_what_was_whitened_is_the_identity() -> None:
    rows = torch.randn(50, 3, generator=generator(0, "rows")) * torch.tensor([3.0, 1.0, 0.1])
    white = rows.double() @ whitening(covariance(rows), ridge=0.0)
    assert torch.allclose(covariance(white), torch.eye(3).double(), atol=1e-8)


def test_both_sides_lose_the_same_outlier_dimensions() -> None:
    loud = torch.tensor([0.0, 0.0, 0.0, 5.0])
    banks = Banks(BANKS.queries + loud, BANKS.pictures + loud / 2)
    part = Standardised(centre="none", outliers=1.5)
    part.fit(banks)
    q, g = part.map(Scored(QUERIES + loud), Scored(GALLERY))  # queries alone are loud
    assert not q[:, 3].any() and not g[:, 3].any()
    assert torch.allclose(g[:, :3], normalize(GALLERY[:, :3], dim=1), atol=1e-6)


def test_a_version_without_banks_ranks_as_before() -> None:
    part = Standardised(whiten="both")
    part.fit(Banks(BANKS.queries, BANKS.pictures[:0]))
    q, g = part.map(Scored(QUERIES), Scored(GALLERY))
    assert torch.equal(q, QUERIES) and torch.equal(g, GALLERY)


@pytest.mark.parametrize(
    "wrong", [{"centre": "none"}, {"centre": "mine"}, {"whiten": "no"}, {"ridge": 0.0}, {"outliers": -1.0}]
)
def test_what_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"nothing is done|must be"):
        Standardised(**wrong)
