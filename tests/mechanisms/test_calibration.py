"""Bins and correlations by hand."""

from __future__ import annotations

import numpy as np
import torch

from clplat.mechanisms.calibration import linear_fit, ranks, recall_by_uncertainty, spearman


def test_spearman_is_the_correlation_of_ranks_with_ties() -> None:
    x, y = torch.tensor([3.0, 1.0, 3.0, 2.0, 5.0]), torch.tensor([0.1, 0.4, 0.4, 0.2, 0.0])
    a, b = [3.5, 1.0, 3.5, 2.0, 5.0], [2.0, 4.5, 4.5, 3.0, 1.0]
    assert ranks(x).tolist() == a and ranks(y).tolist() == b
    assert np.isclose(spearman(x, y), np.corrcoef(a, b)[0, 1])
    assert spearman(x, torch.ones(5)) == 0.0


def test_the_fit_is_that_of_the_least_squares_line() -> None:
    x, y = np.arange(6.0), np.array([5.0, 4.0, 4.5, 2.0, 1.0, 1.5])
    line = np.polyval(np.polyfit(x, y, 1), x)
    expected = 1 - ((y - line) ** 2).sum() / ((y - y.mean()) ** 2).sum()
    assert np.isclose(linear_fit(torch.tensor(x), torch.tensor(y)), expected)


def test_bins_have_equal_numbers_and_the_surest_first() -> None:
    unsure = torch.tensor([0.9, 0.1, 0.5, 0.7, 0.3, 0.2])
    right = torch.tensor([False, True, True, False, True, False])
    assert recall_by_uncertainty(unsure, right, 3).tolist() == [0.5, 1.0, 0.0]
    assert len(recall_by_uncertainty(unsure, right, 100)) == 6
