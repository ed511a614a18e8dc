"""Stretched positions against the loops of the paper's code, written again."""

from __future__ import annotations

import torch

from clplat.mechanisms.longer_text import Stretched, stretched


def test_of_77_places_are_248_and_the_first_20_stay() -> None:
    old = torch.randn(77, 3, generator=torch.Generator().manual_seed(0)).double()
    new = stretched(old, keep=20, factor=4)
    assert new.shape == (248, 3) and torch.equal(new[:20], old[:20])
    for place in range(20, 77):
        step = old[place + 1] - old[place] if place < 76 else old[76] - old[75]
        for part in range(4):
            expected = old[place] + part * step / 4
            torch.testing.assert_close(new[20 + 4 * (place - 20) + part], expected)


def test_the_residual_is_zero_and_reaches_no_kept_place() -> None:
    old = torch.randn(12, 3, generator=torch.Generator().manual_seed(1))
    module = Stretched(old, keep=8, factor=4)
    assert torch.equal(module(old), stretched(old, 8, 4)) and len(module(old)) == 24
    (residual,) = module.parameters()
    (slope,) = torch.autograd.grad(module(old).sum(), [residual])
    assert residual.shape == (16, 3) and bool((slope == 1).all())
    with torch.no_grad():
        residual.fill_(1.0)
    assert torch.equal(module(old)[:8], old[:8])
