"""What two vectors share, number by number."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import normalize

from clplat.parts.composers.intersection import Intersection


@pytest.mark.parametrize("form", ["minimum", "geometric"])
def test_the_formula_by_hand(form: str) -> None:
    r, t = torch.randn(2, 3, 6, generator=torch.Generator().manual_seed(0)).requires_grad_().unbind(0)
    found = Intersection(form=form, weight=0.3)(r, t)  # type: ignore[arg-type]
    for row, a, b in zip(found, normalize(r, dim=1).double(), normalize(t, dim=1).double(), strict=True):
        both = []
        for x, y in zip(a.tolist(), b.tolist(), strict=True):
            size = min(abs(x), abs(y)) if form == "minimum" else math.sqrt(max(x * y, 0.0))
            both.append(math.copysign(size, x) if x * y > 0 else 0.0)
        common = normalize(torch.tensor(both, dtype=torch.float64), dim=0)
        expected = normalize(0.3 * common + 0.7 * normalize(a + b, dim=0), dim=0)
        assert torch.allclose(row.double(), expected, atol=1e-5)
    gradient = torch.autograd.grad(found.sum(), r)[0]
    assert bool(gradient.isfinite().all())


def test_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match="allowed: minimum, geometric"):
        Intersection(form="maximum")  # type: ignore[arg-type]
