"""Residual binary codes: the recursion by hand, bits at rest, ties, and codes of older versions."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from torch import Tensor

from clplat.mechanisms.bits import nearest_sum, pack, sign_through, signs_of, sum_of, unpack
from clplat.models.view import Towers
from clplat.parts.heads._views import Codes
from clplat.parts.heads.bebr import Bebr
from clplat.randomness import generator, seeded
from clplat.testing import HeadContract, tiny_backbone


class TestOneLoop(HeadContract):
    def make(self) -> Bebr:
        return Bebr(width=16, loops=1, hidden=32)


class TestThreeLoops(HeadContract):
    def make(self) -> Bebr:
        return Bebr(width=20, loops=3, hidden=32)


def attached(**options) -> Bebr:
    head = Bebr(**options)
    with seeded(0, "bebr"):
        head.attach(Towers(tiny_backbone()))
    return head.eval()


def unit(x: Tensor) -> Tensor:
    return x / (x * x).sum(1, keepdim=True).sqrt()


def test_the_recursion_by_hand_in_float64():
    head = attached(width=12, loops=3, hidden=16)
    x = torch.randn(4, 24, generator=generator(0, "x"))
    f, slow = unit(x.double()), head.double()
    sign = lambda v: torch.where(v >= 0, 1.0, -1.0).double()  # noqa: E731
    b = sign(slow.encode[0](f))
    b = b + sign(slow.encode[1](f - unit(slow.decode[0](b)))) / 2
    b = b + sign(slow.encode[2](f - unit(slow.decode[1](b)))) / 4
    assert torch.equal((slow(x.double(), "gallery") / head.unit).round(decimals=6), b)


def test_a_code_falls_apart_into_its_signs_and_packs_into_bits():
    draw = generator(0, "bits")
    signs = torch.rand(50, 3, 11, generator=draw) < 0.5
    assert torch.equal(signs_of(sum_of(signs), 3), signs)
    flat = signs.flatten(1)
    assert pack(flat).dtype == torch.uint8 and pack(flat).shape == (50, 5)
    assert torch.equal(unpack(pack(flat), 33), flat)


def test_rows_that_are_no_codes_go_to_the_nearest():
    grid = torch.tensor([-1.75, -1.25, -0.75, -0.25, 0.25, 0.75, 1.25, 1.75])
    x = 3 * torch.randn(1, 200, generator=generator(1, "x"))
    nearest = grid[(x.flatten()[:, None] - grid).abs().argmin(1)]
    assert torch.equal(nearest_sum(x, 3).flatten(), nearest)


def test_signs_let_gradients_through_inside_the_unit_interval_only():
    x = torch.tensor([-2.0, -0.5, 0.0, 0.5, 2.0], requires_grad=True)
    (sign_through(x) * torch.arange(5.0)).sum().backward()
    assert x.grad.tolist() == [0.0, 1.0, 2.0, 3.0, 0.0]


def test_128_bits_take_16_bytes():
    head = attached(width=64, loops=2)
    view = head.views()["codes"]
    stored = view.store(head(torch.randn(7, 24, generator=generator(2, "x")), "gallery"))
    assert stored.shape == (7, 16) and stored.dtype == torch.uint8 and view.bytes_per_item(stored) == 16.0


@pytest.mark.parametrize(("width", "loops"), [(16, 1), (128, 1), (24, 2)])
def test_equal_similarities_tie_exactly_whatever_the_order_of_addition(width, loops):
    """Float sums of +-1/sqrt(W) would not: their rounding would break ties at random."""
    view = Codes(width, loops, unit=0.37)
    draw = generator(3, "codes")
    codes = sum_of(torch.rand(60, loops, width, generator=draw) < 0.5)
    query, items = codes[:5], codes[5:]
    left, right = view.map(0.37 * query, "query"), view.load(view.store(0.37 * items))
    for q, row in zip(query, left, strict=True):
        exact: dict[tuple[Fraction, Fraction], set[float]] = {}
        for item, other in zip(items, right, strict=True):
            dot, length = Fraction(float(q.double() @ item.double())), Fraction(float((item**2).sum()))
            for order in (slice(None), torch.randperm(width, generator=draw)):
                score = float(torch.cumsum(row[order] * other[order], 0)[-1])
                exact.setdefault((dot, length), set()).add(score)
        assert all(len(scores) == 1 for scores in exact.values()), "equal similarities score differently"
        assert len(exact) < len(items), "nothing ties"


def test_loaded_codes_have_nearly_unit_length():
    view = Codes(64, 2, unit=1.0)
    codes = sum_of(torch.rand(40, 2, 64, generator=generator(4, "codes")) < 0.5)
    assert (view.map(codes, "gallery").norm(dim=1) - 1).abs().max() < 0.004
    assert (view.map(codes, "query").norm(dim=1) - 1).abs().max() < 0.07


def test_loops_are_bounded():
    with pytest.raises(ValueError, match="loops in 1"):
        Bebr(loops=5)
