"""The relation's forms against loops in float64; CTP, CLIP-Refine and Mod-X by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from clplat.mechanisms.relation import Relation, relation_kl

DRAW = torch.Generator().manual_seed(0)
STUDENT, TEACHER = torch.randn(2, 4, 5, generator=DRAW)
VALID = torch.rand(4, 5, generator=DRAW) < 0.8
VALID[2] = False
RIGHT = torch.eye(4, 5, dtype=torch.bool)


def softmax(row: list[float]) -> list[float]:
    powers = [math.exp(x) for x in row]
    return [x / sum(powers) for x in powers]


def slow(direction: str, i: int, blend: float = 0.0) -> float:
    """One row, over what is valid of it."""
    places = [j for j in range(5) if VALID[i, j]]
    s, t = (
        [float(m[i, j].double()) / temperature for j in places]
        for m, temperature in ((STUDENT, 0.5), (TEACHER, 2.0))
    )
    if not places:
        return 0.0
    if direction == "match":
        return sum((a - b) ** 2 for a, b in zip(s, t, strict=True)) / len(places)
    p, q = softmax(t), softmax(s)
    if blend and i in places:
        p = [blend * (j == i) + (1 - blend) * x for j, x in zip(places, p, strict=True)]
    if direction == "cross_entropy":
        return -sum(a * math.log(b) for a, b in zip(p, q, strict=True))
    if direction == "reversed":
        p, q = q, p
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


@pytest.mark.parametrize("direction", ["forward", "reversed", "cross_entropy", "match"])
@pytest.mark.parametrize("blend", [0.0, 0.4])
def test_every_form_is_its_formula_and_masked_pairs_get_no_gradient(direction: Any, blend: float) -> None:
    student = STUDENT.clone().requires_grad_()
    rows = relation_kl(student, TEACHER, 0.5, 2.0, VALID, None, direction, RIGHT, blend)
    assert rows.tolist() == pytest.approx([slow(direction, i, blend) for i in range(4)], rel=1e-4, abs=1e-6)
    (found,) = torch.autograd.grad(rows.sum(), student)
    assert bool(found.isfinite().all())
    assert bool((found[~VALID] == 0).all()) and bool((found[VALID] != 0).all())


def test_the_three_divergences_have_the_gradients_that_their_names_say() -> None:
    def gradient(direction: Any) -> Tensor:
        student = STUDENT.clone().requires_grad_()
        (found,) = torch.autograd.grad(Relation(direction=direction)(student, TEACHER), student)
        return found

    assert torch.allclose(gradient("forward"), gradient("cross_entropy"), atol=1e-7)
    assert not torch.allclose(gradient("forward"), gradient("reversed"), atol=1e-3)


@pytest.mark.parametrize("wrong", ["dropped", "replaced"])
def test_a_wrong_row_is_replaced_without_a_gradient_of_its_target(wrong: Any) -> None:
    """Mod-X: the row that replaces the teacher's is detached, and at equal temperatures adds nothing."""
    teacher = 5 * torch.eye(3) - 10 * torch.eye(3)[:, :1] @ torch.eye(3)[:1]  # row 0 is wrong
    student = torch.randn(3, 3, generator=torch.Generator().manual_seed(1)).requires_grad_()
    loss = Relation("row", wrong_rows=wrong, reduction="sum")(student, teacher)
    expected = relation_kl(student, teacher)[1:].sum()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    (found,) = torch.autograd.grad(loss, student)
    assert found[0].abs().max() < 1e-6 and bool((found[1:] != 0).all())


def test_a_replaced_row_is_sharpened_where_temperatures_differ() -> None:
    student, teacher = STUDENT[:, :4], -torch.eye(4)
    loss = Relation("row", 0.1, 1.0, wrong_rows="replaced")(student, teacher)
    assert loss.item() == pytest.approx(relation_kl(student, student, 1.0, 0.1).mean().item(), rel=1e-5)


def test_clip_refine_blends_the_right_answer_into_the_teacher() -> None:
    """``KL(a I + (1 - a) softmax(T) || softmax(S))``, the mean of both directions."""
    s, t = STUDENT[:, :4].double(), TEACHER[:, :4].double()

    def one_way(s: Tensor, t: Tensor) -> Tensor:
        p = 0.5 * torch.eye(4, dtype=torch.float64) + 0.5 * t.softmax(1)
        return (p * (p.log() - s.log_softmax(1))).sum(1).mean()

    expected = (one_way(s, t) + one_way(s.T, t.T)) / 2
    assert Relation(blend=0.5)(s, t).item() == pytest.approx(expected.item(), rel=1e-5)


def test_bad_settings_are_named() -> None:
    for options, said in (
        ({"direction": "backward"}, "direction must be 'forward', .* or 'match', not 'backward'"),
        ({"wrong_rows": "mended"}, "wrong_rows must be"),
        ({"blend": 1.5}, r"blend must lie in \[0, 1\]"),
    ):
        with pytest.raises(ValueError, match=said):
            Relation(**options)
