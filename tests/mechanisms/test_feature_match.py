"""The forms of a feature match against loops in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from clplat.mechanisms.feature_match import feature_match

DRAW = torch.Generator().manual_seed(0)
STUDENT, TEACHER = torch.randn(2, 2, 4, 6, generator=DRAW)
WIDE = torch.randn(2, 4, 9, generator=DRAW)


def test_rows_one_by_one() -> None:
    cosines = [
        cosine_similarity(STUDENT[b, n].double(), TEACHER[b, n].double(), dim=0)
        for b in range(2)
        for n in range(4)
    ]
    assert feature_match(STUDENT, TEACHER).item() == pytest.approx(1 - float(sum(cosines)) / 8, rel=1e-5)
    squares = (STUDENT.double() - TEACHER.double()).square().mean()
    assert feature_match(STUDENT, TEACHER, "mse").item() == pytest.approx(squares.item(), rel=1e-5)


def test_correlations_of_the_tokens_of_one_item_whatever_the_width() -> None:
    total = 0.0
    for b in range(2):
        for i in range(4):
            for j in range(4):
                s, t = (cosine_similarity(m[b, i].double(), m[b, j].double(), dim=0) for m in (STUDENT, WIDE))
                total += float((s - t) ** 2) / 32
    assert feature_match(STUDENT, WIDE, "correlation").item() == pytest.approx(total, rel=1e-5)


@pytest.mark.parametrize("form", ["cosine", "mse", "correlation"])
def test_it_is_nothing_at_the_teacher_which_gets_no_gradient(form: str) -> None:
    teacher = TEACHER.clone().requires_grad_()
    student: Tensor = TEACHER.clone().requires_grad_()
    loss = feature_match(student, teacher, form)  # type: ignore[arg-type]
    torch.autograd.backward(loss)
    assert loss.item() == pytest.approx(0.0, abs=1e-6)
    assert teacher.grad is None and student.grad is not None and student.grad.abs().max() < 1e-4


def test_shapes_that_do_not_fit_are_named() -> None:
    with pytest.raises(ValueError, match=r"\(2, 4, 6\) and \(2, 4, 9\) do not fit"):
        feature_match(STUDENT, WIDE)
