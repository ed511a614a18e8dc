"""Relation distillation against loops in float64 and a re-statement of Mod-X's rule."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import kl_div

from clplat.mechanisms.relation import relation_kl
from clplat.parts.losses.similarity_distillation import SimilarityDistillation


def softmax(values):
    peak = max(values)
    exponents = [math.exp(v - peak) for v in values]
    return [e / sum(exponents) for e in exponents]


def slow(student, teacher, t_s, t_t, positive, valid, mask_wrong):
    """KL of every row of plain lists."""
    out = []
    for i in range(len(student)):
        columns = [j for j in range(len(student[i])) if valid[i][j]]
        if not columns:
            out.append(0.0)
            continue
        if mask_wrong and not positive[i][max(columns, key=lambda j: (teacher[i][j], -j))]:
            out.append(0.0)
            continue
        p = softmax([teacher[i][j] / t_t for j in columns])
        q = softmax([student[i][j] / t_s for j in columns])
        out.append(sum(a * (math.log(a) - math.log(b)) for a, b in zip(p, q, strict=True)))
    return out


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10**6),
    st.sampled_from(["row", "column", "both"]),
    st.sampled_from(["mean", "sum"]),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)
def test_equals_the_definition(seed, axis, reduction, mask_wrong, drop, scale):
    g = torch.Generator().manual_seed(seed)
    student, teacher = torch.randn(2, 4, 6, generator=g)
    positive, valid = torch.rand(2, 4, 6, generator=g) < 0.6
    loss = SimilarityDistillation(axis, 2.0, 0.5, mask_wrong, drop, scale, reduction)
    found = loss.compare(student, teacher, positive=positive, valid=valid)
    seen = valid & ~torch.eye(4, 6, dtype=torch.bool) if drop else valid
    values = []
    for name, turn in (("row", lambda m: m), ("column", lambda m: m.T)):
        if axis in (name, "both"):
            rows = slow(*(turn(m).tolist() for m in (student.double(), teacher.double())), 0.5, 2.0,
                        turn(positive).tolist(), turn(seen).tolist(), mask_wrong)  # fmt: skip
            values.append(sum(rows) / (len(rows) if reduction == "mean" else 1))
    expected = sum(values) / len(values) * (2.0 * 0.5 if scale else 1.0)
    assert found.item() == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_mod_x():
    """The public rule: a wrong teacher row is replaced by the student's own, then KL, summed, both ways."""
    g = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 8, 8, generator=g)
    teacher += 1.5 * torch.eye(8)
    student.requires_grad_()

    def one_way(new, old):
        wrong = old.argmax(1) != torch.arange(len(old))
        assert 0 < wrong.sum() < len(old)
        target = torch.where(wrong[:, None], new.detach(), old)
        return kl_div(new.log_softmax(1), target.softmax(1), reduction="sum")

    expected = (one_way(student, teacher) + one_way(student.T, teacher.T)) / 2
    found = SimilarityDistillation("both", mask_wrong_rows=True, reduction="sum").compare(student, teacher)
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    gradients = [torch.autograd.grad(loss, student, retain_graph=True)[0] for loss in (found, expected)]
    assert torch.allclose(*gradients, atol=1e-5)


def test_zscl_form_has_the_same_gradient():
    """T^2 times the cross entropy of softmax(teacher / T) and softmax(student / T), per axis, added."""
    g = torch.Generator().manual_seed(1)
    student, teacher = 3 * torch.randn(2, 5, 7, generator=g)
    student.requires_grad_()

    def one_way(new, old):
        return -4.0 * ((old / 2).softmax(1) * (new / 2).log_softmax(1)).sum(1).mean()

    expected = torch.autograd.grad(one_way(student, teacher) + one_way(student.T, teacher.T), student)[0]
    loss = SimilarityDistillation("both", teacher_temperature=2, student_temperature=2, scale_by_t2=True)
    found = torch.autograd.grad(2.0 * loss.compare(student, teacher), student)[0]
    assert torch.allclose(found, expected, atol=1e-6)


def test_zero_exactly_at_the_teacher_and_only_the_student_learns():
    g = torch.Generator().manual_seed(2)
    teacher = torch.randn(5, 5, generator=g).requires_grad_()
    student = teacher.detach().clone().requires_grad_()
    loss = SimilarityDistillation(teacher_temperature=0.05, student_temperature=0.05).compare(
        student, teacher
    )
    assert loss.item() == pytest.approx(0.0, abs=1e-6)
    loss.backward()
    assert teacher.grad is None
    assert student.grad.abs().max() < 1e-4


@pytest.mark.parametrize("axis", ["row", "column", "both"])
def test_masked_pairs_reach_no_gradient_and_no_nan(axis):
    g = torch.Generator().manual_seed(3)
    student, teacher = torch.randn(2, 4, 4, generator=g)
    valid = torch.ones(4, 4, dtype=torch.bool)
    valid[1], valid[:, 3] = False, False
    teacher[0, 3] = 1e4
    student.requires_grad_()
    loss = SimilarityDistillation(axis).compare(student, teacher, valid=valid)
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(student.grad).all()
    assert (student.grad[~valid] == 0).all()
    assert (student.grad[valid] != 0).all()


def test_one_item_without_its_diagonal_adds_nothing():
    student = torch.ones(1, 1, requires_grad=True)
    loss = SimilarityDistillation(drop_diagonal=True).compare(student, torch.zeros(1, 1))
    assert loss.item() == 0.0
    loss.backward()
    assert student.grad.item() == 0.0


def test_sharp_distributions_stay_finite():
    student, teacher = torch.eye(4) * 100, -torch.eye(4) * 100
    rows = relation_kl(student, teacher, 0.01, 0.01)
    assert torch.isfinite(rows).all() and (rows > 1e3).all()


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="one shape"):
        SimilarityDistillation().compare(torch.eye(2), torch.eye(3))
    with pytest.raises(ValueError, match="valid must be"):
        SimilarityDistillation().compare(torch.eye(2), torch.eye(2), valid=torch.ones(3, 3).bool())
    for options in ({"axis": "rows"}, {"reduction": "none"}, {"teacher_temperature": 0.0}):
        with pytest.raises(ValueError):
            SimilarityDistillation(**options)
