"""Ridge against least squares with penalty rows."""

from __future__ import annotations

import pytest
import torch

from clplat.errors import UserError
from clplat.parts.projections.ridge import Ridge


@pytest.mark.parametrize("toward", ["zero", "identity"])
@pytest.mark.parametrize("count", [5, 60])
def test_ridge_equals_least_squares_with_penalty_rows(pairs, toward, count):
    new, old = (rows.double() for rows in pairs(count, noise=0.3))
    projection = Ridge(alpha=0.7, toward=toward)
    projection.fit(new, old)
    start = torch.eye(12).double() if toward == "identity" else torch.zeros(12, 12).double()
    lam = 0.7 * count / 12
    penalty = lam**0.5 * torch.eye(12).double()
    expected = torch.linalg.lstsq(torch.cat([new, penalty]), torch.cat([old, penalty @ start])).solution
    assert torch.allclose(projection.matrix.double(), expected, atol=1e-6)


def test_ridge_strength_does_not_depend_on_the_number_of_pairs(pairs):
    new, old = pairs(noise=0.3)
    once, twice = Ridge(0.5), Ridge(0.5)
    once.fit(new, old)
    twice.fit(new.repeat(2, 1), old.repeat(2, 1))
    assert torch.allclose(once.matrix, twice.matrix, atol=1e-6)


@pytest.mark.parametrize(("option", "value"), [("alpha", 0.0), ("toward", "one")])
def test_a_wrong_value_is_named(option, value):
    with pytest.raises(ValueError, match=option):
        Ridge(**{option: value})


def test_embeddings_that_are_all_zero_are_refused():
    with pytest.raises(UserError, match="all new embeddings are zero"):
        Ridge().fit(torch.zeros(3, 4), torch.ones(3, 4))
