"""Arithmetic of directions against plain numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from clplat.mechanisms.directions import explained_by, whitening, without

DRAW: Any = np.random.default_rng(0)


def test_a_part_in_a_span_is_taken_away() -> None:
    rows, directions = DRAW.normal(size=(3, 6)), DRAW.normal(size=(3, 3, 6))
    directions[0, 1] = 0.0  # a row with fewer directions than others
    directions[1, 2] = 2 * directions[1, 0]  # and one whose directions repeat each other
    found = without(*(torch.from_numpy(x).float() for x in (rows, directions)), share=0.7)
    for row, span, got in zip(rows, directions, found.double().numpy(), strict=True):
        part = span.T @ np.linalg.pinv(span.T) @ row
        np.testing.assert_allclose(got, row - 0.7 * part, atol=1e-4)


def test_nothing_is_left_that_a_text_explains() -> None:
    """The rest's covariance is the Schur complement, and it is uncorrelated with the texts."""
    text = DRAW.normal(size=(50, 5))
    text[:, 4] = text[:, 0] + text[:, 1]  # no inverse
    image = text @ DRAW.normal(size=(5, 5)) + 0.1 * DRAW.normal(size=(50, 5))
    rest = image - text @ explained_by(torch.from_numpy(text), torch.from_numpy(image)).numpy()
    np.testing.assert_allclose(text.T @ rest, 0.0, atol=1e-8)
    tt, tv = text.T @ text, text.T @ image
    np.testing.assert_allclose(rest.T @ rest, image.T @ image - tv.T @ np.linalg.pinv(tt) @ tv, atol=1e-8)


def test_whitening_evens_out_variances_and_takes_out_the_largest() -> None:
    rows = DRAW.normal(size=(200, 4)) * np.array([5.0, 2.0, 1.0, 0.5])
    rows -= rows.mean(0)
    given = torch.from_numpy(rows)
    white = rows @ whitening(given, 1.0, shrink=0.0).numpy()
    np.testing.assert_allclose(white.T @ white / 200, np.eye(4) * (rows**2).sum() / 200 / 4, atol=1e-8)
    half = np.linalg.eigvalsh((x := rows @ whitening(given, 0.5, shrink=0.0).numpy()).T @ x)
    expected = np.linalg.eigvalsh(rows.T @ rows) ** 0.5  # a power of one half of the variances
    np.testing.assert_allclose(half / half[0], expected / expected[0], rtol=1e-6)
    leading = np.linalg.eigh(rows.T @ rows)[1][:, -1]
    np.testing.assert_allclose(rows @ whitening(given, 0.0, common=1).numpy() @ leading, 0.0, atol=1e-8)
